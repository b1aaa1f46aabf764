"""An import into the demo shop: create it by GraphQL, upload to the signed URL, and wait for the job.

The wait is one sample, `import job`, from the first poll to "done"; the polls have a row of their own.
"""

from loadgen import Plan, User, arrivals, blob, error_ratio, gql, journey, p

CREATE = "mutation CreateImport($name: String!) { createImport(name: $name) { id uploadUrl } }"
PHOTOS = blob("256KiB", seed=1)


@journey
async def import_photos(user: User) -> None:
    async with user.step("create"):
        created = await user.http.post("/graphql", json=gql(CREATE, {"name": f"photos {user.now():%H:%M}"}))
        url = created.pick("$.data.createImport.uploadUrl")
    async with user.step("upload"):
        uploaded = await user.http.put(url, content=PHOTOS, name="/uploads/{id}", expect=202)
        job = uploaded.expect(json={"bytes": PHOTOS.size_bytes}).pick("$.job")
    ended = await user.poll(
        lambda: user.http.get(f"/jobs/{job}", name="/jobs/{id}", expect=200),
        until=lambda reply: reply.pick("$.state") != "running",
        every="250ms",
        timeout="30s",
        name="import job",
    )
    if ended.pick("$.state") != "done":
        user.fail("import failed")


plan = Plan(
    target="http://127.0.0.1:8080",
    load=arrivals("5/s").hold("30s"),
    mix=import_photos,
    slos=[p(95, request="import job") < "2s", p(95, step="upload") < "500ms", error_ratio() < "0.1%"],
)
