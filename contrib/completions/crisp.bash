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

# The names of all containers.
_crisp_containers()
{
        crisp explain --json 2>/dev/null | sed -n '/"containers"/,$s/.*"name": "\([^"]*\)".*/\1/p'
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
                _crisp_words "serve config check inspect verify pause unpause images explain metrics version help"
                return
        fi
        case $previous in
        --config | --socket | --authfile | -o | --output)
                compopt -o filenames 2>/dev/null
                mapfile -t COMPREPLY < <(compgen -f -- "$current")
                return
                ;;
        --format)
                _crisp_words "oci oci-dir docker"
                return
                ;;
        --compression)
                _crisp_words "none gzip zstd"
                return
                ;;
        --creds | --name) return ;;
        esac
        case ${COMP_WORDS[1]}:${COMP_WORDS[2]-} in
        serve:* | config:*) _crisp_words "--config" ;;
        check:*) _crisp_words "--config --json" ;;
        inspect:* | pause:* | unpause:*)
                case $current in
                -*) _crisp_words "--socket --config" ;;
                *) _crisp_words "$(_crisp_containers)" ;;
                esac
                ;;
        verify:*)
                case $current in
                -*) _crisp_words "--json --quiet --socket --config" ;;
                *) _crisp_words "$(_crisp_containers)" ;;
                esac
                ;;
        metrics:*) _crisp_words "--socket --config" ;;
        explain:*)
                case $current in
                -*) _crisp_words "--json --socket --config" ;;
                *) _crisp_words "pulls $(_crisp_images)" ;;
                esac
                ;;
        images:*)
                if [ "$COMP_CWORD" -eq 2 ]; then
                        _crisp_words "list pull rm inspect load save check verify repair"
                        return
                fi
                case ${COMP_WORDS[2]}:$current in
                list:-*) _crisp_words "--json --quiet --socket --config" ;;
                pull:-*) _crisp_words "--creds --password-stdin --authfile --quiet --socket --config" ;;
                load:-*) _crisp_words "--name --socket --config" ;;
                save:-*) _crisp_words "--output --format --compression --socket --config" ;;
                verify:-* | repair:-*) _crisp_words "--verbose --socket --config" ;;
                *:-*) _crisp_words "--socket --config" ;;
                pull:*) ;;
                load:* | check:[./]*)
                        compopt -o filenames 2>/dev/null
                        mapfile -t COMPREPLY < <(compgen -f -- "$current")
                        ;;
                *) _crisp_words "$(_crisp_images)" ;;
                esac
                ;;
        esac
}
complete -F _crisp crisp
