#compdef conch-sema
# zsh completion of conch-sema: a file named _conch-sema in $fpath, or
# eval "$(conch-sema --completion zsh)"
_conch_sema() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch-sema --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V conch-sema lines
}
if [[ $funcstack[1] == _conch_sema ]]; then _conch_sema "$@"; else compdef _conch_sema conch-sema; fi
