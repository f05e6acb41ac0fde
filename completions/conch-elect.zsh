#compdef conch-elect
# zsh completion of conch-elect: a file named _conch-elect in $fpath, or
# eval "$(conch-elect --completion zsh)"
_conch_elect() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch-elect --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V conch-elect lines
}
if [[ $funcstack[1] == _conch_elect ]]; then _conch_elect "$@"; else compdef _conch_elect conch-elect; fi
