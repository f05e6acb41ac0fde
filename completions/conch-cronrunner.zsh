#compdef conch-cronrunner
# zsh completion of conch-cronrunner: a file named _conch-cronrunner in $fpath, or
# eval "$(conch-cronrunner --completion zsh)"
_conch_cronrunner() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch-cronrunner --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V conch-cronrunner lines
}
if [[ $funcstack[1] == _conch_cronrunner ]]; then _conch_cronrunner "$@"; else compdef _conch_cronrunner conch-cronrunner; fi
