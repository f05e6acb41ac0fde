#compdef conch-cron
# zsh completion of conch-cron: a file named _conch-cron in $fpath, or
# eval "$(conch-cron --completion zsh)"
_conch_cron() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(conch-cron --__complete zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V conch-cron lines
}
if [[ $funcstack[1] == _conch_cron ]]; then _conch_cron "$@"; else compdef _conch_cron conch-cron; fi
