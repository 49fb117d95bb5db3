# Completion for fish: of ipyfleet, and of invoke (inv) inside a checkout of ipyfleet. Once:
#
#   ipyfleet completion --shell fish > ~/.config/fish/completions/ipyfleet.fish
#
# or, for invoke as well, in ~/.config/fish/config.fish:  ipyfleet completion --shell fish | source

function __ipyfleet_program --argument-names called --description 'The program that knows about a command line of ours'
    set called (command --search -- (string replace --regex '^~/' "$HOME/" -- $called)); or return 1
    if string match --quiet --regex '(^|/)ipyfleet$' -- $called
        echo $called
        return
    end
    # invoke takes the first tasks.py from here upward: is that ours?
    set --local folder $PWD
    while not test -e $folder/tasks.py
        test $folder != /; or return 1
        set folder (dirname $folder)
    end
    set --local program (dirname $called)/ipyfleet
    test -e $folder/completion/ipyfleet.fish -a -x $program; or return 1
    echo $program
end

function __ipyfleet_complete
    set --local words (commandline --current-process --tokenize --cut-at-cursor)
    set --local word (commandline --current-token --cut-at-cursor)
    set --local program (__ipyfleet_program $words[1])
    or set program $words[1] # in another project: Invoke's own answers, or else files
    set --local lines ($program --complete -- (basename $words[1]) $words[2..] "$word" 2>/dev/null </dev/null)
    if test "$lines[1]" = '<files>' -o -z "$lines" -a "$program" = "$words[1]"
        __fish_complete_path $word
    else
        printf '%s\n' $lines
    end
end

for name in ipyfleet invoke inv
    complete --command $name --no-files --arguments '(__ipyfleet_complete)'
end
