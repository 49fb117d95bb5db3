#compdef ipyfleet invoke inv
# Completion for zsh: of ipyfleet, and of invoke (inv) inside a checkout of ipyfleet. In ~/.zshrc, after compinit:
#
#   source <(ipyfleet completion --shell zsh)

# _ipyfleet_program CALLED: the program that knows about the command line of CALLED, when that is one of ours
_ipyfleet_program() {
    local called folder
    called=${~1}
    [[ $called == */* ]] || called=$(whence -p -- $called) || return 1
    if [[ ${called:t} == ipyfleet ]]; then
        print -r -- $called
        return
    fi
    # invoke takes the first tasks.py from here upward: is that ours?
    folder=$PWD
    until [[ -e $folder/tasks.py ]]; do
        [[ $folder != / ]] || return 1
        folder=${folder:h}
    done
    [[ -e $folder/completion/ipyfleet.zsh && -x ${called:h}/ipyfleet ]] || return 1
    print -r -- ${called:h}/ipyfleet
}

_ipyfleet() {
    local called=$words[1] program line foreign=
    local -a lines found
    program=$(_ipyfleet_program $called) || foreign=yes program=${~called} # Invoke's own answers, or else files
    lines=("${(@f)$($program --complete -- ${called:t} "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null </dev/null)}")
    if [[ $lines[1] == '<files>' ]]; then
        _files
        return
    fi
    for line in $lines; do
        case $line in
            *$'\t'*) found+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}") ;;
            ?*) found+=("${line//:/\\:}") ;;
        esac
    done
    if (( $#found )); then
        _describe ipyfleet found
    elif [[ -n $foreign ]]; then
        _default
    fi
}

if [[ $funcstack[1] == _ipyfleet ]]; then
    _ipyfleet "$@"
else
    compdef _ipyfleet ipyfleet invoke inv
fi
