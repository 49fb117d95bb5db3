#!/usr/bin/env bash
# Completion for bash 3.2 or newer: of ipyfleet, and of invoke (inv) inside a checkout of ipyfleet. In ~/.bashrc:
#
#   eval "$(ipyfleet completion --shell bash)"

# _ipyfleet_program CALLED: the program that knows about the command line of CALLED, when that is one of ours
_ipyfleet_program() {
    local called folder
    called=$(type -P -- "${1/#~\//$HOME/}") || return 1
    if [[ ${called##*/} == ipyfleet ]]; then
        printf '%s\n' "$called"
        return
    fi
    # invoke takes the first tasks.py from here upward: is that ours?
    folder=$PWD
    until [[ -e $folder/tasks.py ]]; do
        [[ -n $folder ]] || return 1
        folder=${folder%/*}
    done
    [[ -e $folder/completion/ipyfleet.bash && -x ${called%/*}/ipyfleet ]] || return 1
    printf '%s\n' "${called%/*}/ipyfleet"
}

_ipyfleet_complete() {
    local called=${COMP_WORDS[0]} word=${COMP_WORDS[COMP_CWORD]} program line
    COMPREPLY=()
    if ! program=$(_ipyfleet_program "$called"); then
        program=${called/#~\//$HOME/} # in another project: Invoke's own answers, or else files
        compopt -o default 2>/dev/null || true
    fi
    [[ $word != "=" ]] || word=
    while IFS= read -r line; do
        line=${line%%$'\t'*}
        if [[ $line == "<files>" ]]; then
            compopt -o default 2>/dev/null || true
        elif [[ $line == "$word"* ]]; then
            COMPREPLY+=("$line")
        fi
    done < <("$program" --complete -- "${called##*/}" "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null </dev/null)
}

complete -F _ipyfleet_complete ipyfleet invoke inv
