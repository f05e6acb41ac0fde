# bash completion of conch-status: eval "$(conch-status --completion bash)"
_conch_status() {
	local IFS=$'\n' answer then word
	answer=($(conch-status --__complete bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)) || return
	((${#answer[@]})) || return
	then=${answer[${#answer[@]} - 1]}
	unset "answer[${#answer[@]} - 1]"
	COMPREPLY=()
	for word in "${answer[@]}"; do COMPREPLY+=("${word%%$'\t'*}"); done
	word=${COMP_WORDS[COMP_CWORD]}
	IFS=$' \t\n'
	case $then in
	:files) compopt -o default ;;
	:command*)
		if declare -F _command_offset >/dev/null; then
			_command_offset "${then#:command }"
		elif ((COMP_CWORD == ${then#:command })) && [[ $word != */* ]]; then
			mapfile -t COMPREPLY < <(compgen -c -- "$word")
		else
			compopt -o default
		fi ;;
	esac
	[[ ${COMPREPLY[0]-} != *= ]] || compopt -o nospace
}
complete -F _conch_status conch-status
