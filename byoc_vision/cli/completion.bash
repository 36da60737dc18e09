# shellcheck shell=bash
# Completes the command byoc: commands, their options, files. For zsh, first: autoload -U bashcompinit && bashcompinit
_byoc() {
    local word=${COMP_WORDS[COMP_CWORD]} words=
    if [[ $COMP_CWORD == 1 ]]; then
        words=$(byoc --help | sed -n 's/^  \([a-z]*\) .*/\1/p')
    elif [[ $word == -* ]]; then
        words=$(byoc "${COMP_WORDS[1]}" --help 2>/dev/null | grep -oE -- '--[a-z][a-z-]*')
    fi
    # Not mapfile: zsh and macOS's bash have none. What is completed has no spaces.
    # shellcheck disable=SC2207
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}
complete -o bashdefault -o default -F _byoc byoc
