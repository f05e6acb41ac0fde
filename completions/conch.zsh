#compdef conch
# zsh completion of conch: a file named _conch in $fpath, or
# eval "$(conch --completion zsh)"
_conch() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V conch lines
}
if [[ $funcstack[1] == _conch ]]; then _conch "$@"; else compdef _conch conch; fi
