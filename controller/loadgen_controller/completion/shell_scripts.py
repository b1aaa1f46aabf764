"""The scripts that make a shell ask `loadgen` for completions.

A script starts `loadgen` with two variables: `_LOADGEN_COMPLETE`, the name of the shell, and `_LOADGEN_LINE`, the
command line up to the cursor. `loadgen` prints a line for each candidate: the word, a tab, and its help.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["Shell", "script"]


class Shell(StrEnum):
    """The shells that have a script."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"
    POWERSHELL = "powershell"


_BASH: Final = r"""# Completion of loadgen for bash. Made by: loadgen completion bash
_loadgen() {
    local word
    COMPREPLY=()
    while IFS=$'\t' read -r word _; do
        COMPREPLY+=("$word")
    done < <(_LOADGEN_COMPLETE=bash _LOADGEN_LINE="${COMP_LINE:0:COMP_POINT}" \
        _LOADGEN_BREAKS="$COMP_WORDBREAKS" "$1" 2>/dev/null)
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[/:=] ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F _loadgen loadgen
"""

_ZSH: Final = r"""#compdef loadgen
# Completion of loadgen for zsh. Made by: loadgen completion zsh
_loadgen() {
    local word help
    local -a words_end words_open shown_end shown_open
    while IFS=$'\t' read -r word help; do
        if [[ $word == *[/:=] ]]; then
            words_open+=("$word")
            shown_open+=("$word${help:+  -- $help}")
        else
            words_end+=("$word")
            shown_end+=("$word${help:+  -- $help}")
        fi
    done < <(_LOADGEN_COMPLETE=zsh _LOADGEN_LINE="${(j: :)words[1,CURRENT-1]} $PREFIX" "${words[1]}" 2>/dev/null)
    compadd -l -d shown_end -a words_end
    compadd -S '' -l -d shown_open -a words_open
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _loadgen "$@"
else
    compdef _loadgen loadgen
fi
"""

_FISH: Final = r"""# Completion of loadgen for fish. Made by: loadgen completion fish
function __loadgen_complete
    set -l line (commandline -cp)
    set -l program (commandline -opc)[1]
    _LOADGEN_COMPLETE=fish _LOADGEN_LINE="$line" $program 2>/dev/null
end
complete -c loadgen -f -a '(__loadgen_complete)'
"""

_POWERSHELL: Final = r"""# Completion of loadgen for PowerShell. Made by: loadgen completion powershell
Register-ArgumentCompleter -Native -CommandName loadgen -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $line = $commandAst.ToString()
    $length = $cursorPosition - $commandAst.Extent.StartOffset
    $line = if ($length -lt $line.Length) { $line.Substring(0, $length) } else { $line.PadRight($length) }
    $env:_LOADGEN_COMPLETE = "powershell"
    $env:_LOADGEN_LINE = $line
    try {
        & $commandAst.CommandElements[0].Value 2>$null | ForEach-Object {
            $word, $help = $_ -split "`t", 2
            $shown = if ($help) { $help } else { $word }
            [System.Management.Automation.CompletionResult]::new($word, $word, "ParameterValue", $shown)
        }
    } finally {
        Remove-Item Env:_LOADGEN_COMPLETE, Env:_LOADGEN_LINE
    }
}
"""

_SCRIPTS: Final = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH, Shell.POWERSHELL: _POWERSHELL}


def script(shell: Shell) -> str:
    """Return the completion script for a shell. The user stores it where the shell looks for completions."""
    return _SCRIPTS[shell]
