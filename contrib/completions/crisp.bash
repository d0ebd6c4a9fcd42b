# Completion of crisp's command line for bash; installed as share/bash-completion/completions/crisp.

_crisp()
{
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}

        COMPREPLY=()
        if [ "$COMP_CWORD" -eq 1 ]; then
                mapfile -t COMPREPLY < <(compgen -W "serve config version help" -- "$current")
                return
        fi
        case ${COMP_WORDS[1]} in
        serve | config) ;;
        *) return ;;
        esac
        if [ "$previous" = --config ]; then
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
        elif [ "$COMP_CWORD" -eq 2 ]; then
                mapfile -t COMPREPLY < <(compgen -W "--config" -- "$current")
        fi
}
complete -F _crisp crisp
