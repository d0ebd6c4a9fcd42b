# Completion of crisp's command line for bash; installed as share/bash-completion/completions/crisp.

# The names of all images, from the daemon that the words so far name; nothing where it does not answer.
_crisp_images()
{
        local i where=()

        for ((i = 2; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                --socket | --config) where=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]}") ;;
                esac
        done
        crisp images list "${where[@]}" 2>/dev/null | awk 'NR > 1 { print $2 == "-" ? $3 : $1 ":" $2 }'
}

_crisp_words()
{
        mapfile -t COMPREPLY < <(compgen -W "$1" -- "$current")
        # A colon ends a word for bash, and what stands before it is not completed again.
        if declare -F __ltrim_colon_completions >/dev/null; then
                __ltrim_colon_completions "$current"
        fi
}

_crisp()
{
        local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}

        # Names have colons: take the word as it was typed.
        if declare -F _get_comp_words_by_ref >/dev/null; then
                _get_comp_words_by_ref -n : -c current -p previous
        fi
        COMPREPLY=()
        if [ "$COMP_CWORD" -eq 1 ]; then
                _crisp_words "serve config images explain metrics version help"
                return
        fi
        case $previous in
        --config | --socket | --authfile)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        --creds) return ;;
        esac
        case ${COMP_WORDS[1]}:${COMP_WORDS[2]-} in
        serve:* | config:*) _crisp_words "--config" ;;
        metrics:*) _crisp_words "--socket --config" ;;
        explain:*)
                case $current in
                -*) _crisp_words "--json --socket --config" ;;
                *) _crisp_words "pulls $(_crisp_images)" ;;
                esac
                ;;
        images:*)
                if [ "$COMP_CWORD" -eq 2 ]; then
                        _crisp_words "list pull rm inspect"
                        return
                fi
                case ${COMP_WORDS[2]}:$current in
                list:-*) _crisp_words "--json --socket --config" ;;
                pull:-*) _crisp_words "--creds --password-stdin --authfile --quiet --socket --config" ;;
                *:-*) _crisp_words "--socket --config" ;;
                pull:*) ;;
                *) _crisp_words "$(_crisp_images)" ;;
                esac
                ;;
        esac
}
complete -F _crisp crisp
