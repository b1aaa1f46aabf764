"""Asks a model, and a page beside it."""

from loadgen import Llm, Plan, User, arrivals, goodput, journey, mean, p, prompt, search, throughput, total


@journey
async def ask(user: User) -> None:
    await user.http.get("/v1/models", expect=200)
    await user.llm.chat(prompt(tokens=16), max_tokens=20)


llm = Llm(model="loadgen-llm")
frozen_llm = Llm(model="loadgen-llm", calibrate=False)
judged = Plan(
    target="http://127.0.0.1:1",
    llm=llm,
    mix=ask,
    load=arrivals("20/s").hold("6s"),
    regions={"eu-west-1": 0.5, "us-east-1": 0.5},
    slos=[
        p(95, metric="ttft") < "5s",
        p(95, metric="ttft_due") < "5s",
        p(95, metric="itl") < "2s",
        p(95, metric="ttft", request="GET /v1/models") < "5s",
        p(90, metric="ttft", window="2s") < "5s",
        mean(metric="output_tokens") > 19,
        goodput(ttft="5s", tpot="2s") > "95%",
        goodput(ttft="5s", window="2s") > "90%",
        goodput(ttft="1ms") > "50%",
        throughput("output_tokens") > "399/s",
        total("output_tokens") >= 2_400,
    ],
)
frozen = Plan(
    target="http://127.0.0.1:1",
    llm=frozen_llm,
    mix=ask,
    load=arrivals("20/s").hold("30s"),
    drain="1s",
    slos=[goodput(ttft="500ms", window="2s", abort=True) > "90%"],
)


@journey
async def classes(user: User) -> None:
    await user.llm.chat(prompt(tokens=16), max_tokens=20)
    await user.llm.chat(prompt(tokens=16), max_tokens=20, slo={"ttft": "9s"})
    talk = user.llm.conversation()
    await talk.ask(prompt(tokens=16), max_tokens=20, slo={"ttft": "1ms", "tpot": "9s"})


mixed = Plan(
    target="http://127.0.0.1:1",
    llm=frozen_llm,
    mix=classes,
    load=arrivals("10/s").hold("3s"),
    regions={"eu-west-1": 0.5, "us-east-1": 0.5},
    slos=[goodput(ttft="8s") > "50%", goodput(ttft="8s", window="1s") > "10%"],
)
knee = Plan(
    target="http://127.0.0.1:1",
    llm=llm,
    mix=ask,
    load=search(goodput(ttft="500ms") > "95%", start="10/s", upto="80/s", duration="2m"),
)
