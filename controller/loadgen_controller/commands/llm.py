"""`loadgen llm`: loads an AI model without a scenario file, at one level or in a sweep of levels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Final

import typer

from loadgen.clients.llm.tokenizer import tokenizer_of
from loadgen.dsl.secret import missing_secrets, name_is_good
from loadgen.errors import ScenarioError, UsageError
from loadgen.measure.convention_metrics import RECORDABLE
from loadgen_controller.collect_option_errors import CollectedErrors
from loadgen_controller.commands.new import write_new
from loadgen_controller.commands.run import (
    ErrorFuseOption,
    Extras,
    OnLostAgent,
    OnLostAgentOption,
    SureOption,
    UiAtOption,
    UiOption,
    run_file,
    run_written,
)
from loadgen_controller.commands.shared_options import (
    ExplainOption,
    JsonOption,
    OutOption,
    RunOptions,
    takes_run_options_but,
)
from loadgen_controller.console_output import echo
from loadgen_controller.planning.llm_scenario import LlmRequest, scenario_text

NAME = "llm"
EXAMPLES = """[bold]Examples[/bold]

loadgen llm http://127.0.0.1:8000 --model qwen3-8b --rate 4/s --duration 2m

loadgen llm http://127.0.0.1:8000 --rate 4/s --input 1024 --output 256 --goodput ttft=500ms,tpot=50ms

loadgen llm http://127.0.0.1:8000 --users 1,2,4,8,16 --each 1m --settle 10s

loadgen llm http://127.0.0.1:8000 --rate 1/s,2/s,4/s --each 2m --json result.json

loadgen llm https://llm.example --model large --key api-token --users 8 --i-may-load llm.example

loadgen llm http://127.0.0.1:8000 --users 8 --save ask.py"""

_WORK: Final = "Work"


@takes_run_options_but("target", "loads", "param")
def main(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL of the server, such as http://127.0.0.1:8000.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="NAME", help="Name of the model. Default: the server's model, if it has only one."
        ),
    ] = None,
    api: Annotated[
        str, typer.Option("--api", metavar="API", help="API of the server: chat, completions, responses or anthropic.")
    ] = "chat",
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="NAME",
            help="Name of the secret with the API key: api-token is read from LOADGEN_SECRET_API_TOKEN.",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        typer.Option(
            "--rate",
            metavar="RATE",
            rich_help_panel=_WORK,
            help="Requests per second, at random times: 4/s. Several rates are levels: 1/s,2/s,4/s.",
        ),
    ] = None,
    users: Annotated[
        str | None,
        typer.Option(
            "--users",
            metavar="N",
            rich_help_panel=_WORK,
            help="Users, each with one request at a time: 8. Several numbers are levels: 1,2,4,8.",
        ),
    ] = None,
    even: Annotated[
        bool,
        typer.Option(
            "--even", rich_help_panel=_WORK, help="Send the requests of --rate at equal distances, not at random times."
        ),
    ] = False,
    duration: Annotated[
        str | None,
        typer.Option(
            "--duration",
            metavar="TIME",
            rich_help_panel=_WORK,
            help="Duration of the load; with levels, use --each instead. Default: 1m.",
        ),
    ] = None,
    each: Annotated[
        str | None,
        typer.Option("--each", metavar="TIME", rich_help_panel=_WORK, help="Duration of each level. Default: 1m."),
    ] = None,
    settle: Annotated[
        str | None,
        typer.Option(
            "--settle",
            metavar="TIME",
            rich_help_panel=_WORK,
            help="Leave this first part of each level out of its figures. Default: 10s.",
        ),
    ] = None,
    all_levels: Annotated[
        bool,
        typer.Option(
            "--all-levels",
            rich_help_panel=_WORK,
            help="Run all levels, also those above a saturated one. Default: the run ends after a saturated level.",
        ),
    ] = False,
    input_tokens: Annotated[
        int, typer.Option("--input", metavar="TOKENS", rich_help_panel=_WORK, help="Tokens of each prompt.")
    ] = 1024,
    output_tokens: Annotated[
        int, typer.Option("--output", metavar="TOKENS", rich_help_panel=_WORK, help="Most tokens of an answer.")
    ] = 256,
    exactly: Annotated[
        bool,
        typer.Option(
            "--exactly",
            rich_help_panel=_WORK,
            help="Demand exactly --output tokens in each answer. Only vLLM and SGLang support this.",
        ),
    ] = False,
    goodput: Annotated[
        str | None,
        typer.Option(
            "--goodput",
            metavar="LIMITS",
            help="Objective on the share of good requests, which end ok and keep limits such as ttft=500ms,tpot=50ms.",
        ),
    ] = None,
    goodput_share: Annotated[
        str | None,
        typer.Option(
            "--goodput-share", metavar="SHARE", help="The share of good requests must be above this. Default: 95%."
        ),
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            "--convention",
            metavar="TOOLS",
            help=f"Also record times as other tools define them: one or several of {','.join(RECORDABLE)}.",
        ),
    ] = None,
    keep_streams: Annotated[
        str | None,
        typer.Option(
            "--keep-streams",
            metavar="SHARE",
            help="Keep the event lists of this share of the streams in the run folder, such as 5%. Default: 1%.",
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            "--tokenizer",
            metavar="FILE",
            help="The model's tokenizer.json: for prompts of exact length, and answers without usage.",
        ),
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Save the scenario in this new file, such as ask.py.")
    ] = None,
    json_path: JsonOption = None,
    error_fuse: ErrorFuseOption = True,
    on_lost_agent: OnLostAgentOption = OnLostAgent.CONTINUE,
    sure: SureOption = False,
    explain: ExplainOption = False,
    ui: UiOption = False,
    ui_at: UiAtOption = None,
    out: OutOption = None,
    *,
    options: RunOptions,
) -> int:
    """Put load on an AI model, and show time to first token, tokens/s and other figures.

    The command writes a scenario, prints it, and runs it as `loadgen run` does. With several values of --users or
    --rate, the load has levels, and the report shows above which level the throughput no longer grows. The run ends
    after a level that is saturated: its requests in flight and time to first token grew until it ended.

    Exit codes are those of `loadgen run`.
    """
    errors = CollectedErrors()
    asked = LlmRequest(
        url=url,
        model=model,
        api=api,
        key=key,
        rate=rate,
        users=users,
        is_even=even,
        duration=duration,
        each=each,
        settle=settle,
        has_all_levels=all_levels,
        input=input_tokens,
        output=output_tokens,
        is_exact=exactly,
        goodput=goodput,
        goodput_share=goodput_share,
        needs_sure=sure,
        convention=convention,
        keep_streams=keep_streams,
        tokenizer=_tokenizer(errors, tokenizer, save),
    )
    text = scenario_text(errors, asked)
    if options.listen is None and options.controller is None:  # else the secret is set where the agents run
        _check_key(errors, key)
    _check_save(errors, save)
    extras = Extras(
        json_path=json_path,
        error_fuse=error_fuse,
        on_lost_agent=on_lost_agent,
        sure=sure,
        explain=explain,
        ui=ui,
        ui_at=ui_at,
        out=out,
    )

    has_written = False

    def written(path: Path) -> str:
        nonlocal has_written
        errors.check()
        if tokenizer is not None and save is None:
            shutil.copyfile(tokenizer, path.with_name(tokenizer.name))
        write_new(path, text)
        has_written = True
        if not options.quiet:
            for line in text.splitlines():
                echo(line, err=extras.takes_stdout)
        return str(path)

    if save is None:
        return run_written(errors, lambda folder: written(folder / "llm.py"), options, extras)
    try:
        return run_file(errors, lambda: written(save), options, extras, scenario_path=None)
    except (UsageError, ScenarioError, ExceptionGroup):
        if has_written:  # nothing was run, and the corrected command must be able to write the file
            save.unlink(missing_ok=True)
        raise


def _check_key(errors: CollectedErrors, key: str | None) -> None:
    """Add an error that names the option if its secret is not set. Loading would name a line of a temporary file."""
    if key is None or not name_is_good(key):
        return
    for fault in missing_secrets([key]):
        errors.add(f"--key: {fault.message}", fault.hint)


def _tokenizer(errors: CollectedErrors, path: Path | None, save: Path | None) -> str | None:
    """Return the path of the tokenizer's file within the scenario's folder. Errors of the file are added to `errors`.

    Without --save, the file is copied beside the scenario. With it, the file must be there, since the scenario is kept.
    """
    if path is None or errors.catch(lambda: tokenizer_of(path)) is None:
        return None
    if save is None:
        return path.name
    folder = save.resolve().parent
    if not path.resolve().is_relative_to(folder):
        errors.add(
            f"--tokenizer: {path} is not in the folder of --save, so the scenario cannot name it",
            f"copy it to {folder}",
        )
        return None
    return path.resolve().relative_to(folder).as_posix()


def _check_save(errors: CollectedErrors, save: Path | None) -> None:
    errors.check_file("--save", save)
    if save is None:
        return
    if save.suffix != ".py":
        errors.add(f"--save: {save} is not a Python file", "name it with .py, such as ask.py")
    elif save.is_file():
        errors.add(f"--save: {save} already exists", "choose another name; the file was not changed")
