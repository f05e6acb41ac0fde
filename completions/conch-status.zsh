#compdef conch-status
# zsh completion of conch-status: a file named _conch-status in $fpath, or
# eval "$(conch-status --completion zsh)"
_conch_status() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch-status --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
	then=$answer[-1]
	answer[-1]=()
	case $then in
	:files) _files ;;
	:command*)
		shift ${then#:command } words
		((CURRENT -= ${then#:command }))
		_normal ;;
	esac
	for line in $answer; do
		help=${line#*$'\t'}
		lines+=("${${line%%$'\t'*}//:/\\:}${help:+:$help}")
	done
	((!$#lines)) || _describe -V conch-status lines
}
if [[ $funcstack[1] == _conch_status ]]; then _conch_status "$@"; else compdef _conch_status conch-status; fi
