package cli

import "strings"

func shells() []string { return []string{"bash", "zsh", "fish"} }

// completion prints the script that a shell sources.
func (t Tool) completion(io *Stdio, shell string) error {
	var script string
	switch shell {
	case "bash":
		script = bashScript
	case "zsh":
		script = zshScript
	case "fish":
		script = fishScript
	default:
		return Usagef("--completion: %q is not one of %s", shell, strings.Join(shells(), ", "))
	}
	function := "_" + strings.ReplaceAll(t.Name, "-", "_")
	script = strings.NewReplacer("TOOL", t.Name, "FUNC", function, "CALL", completeFlag).Replace(script)
	return print(io.Out, script)
}

// In all three the words come from the tool; see completion for its answer.
// After COMMAND they complete as if that command had been typed alone.

const bashScript = `# bash completion of TOOL: eval "$(TOOL --completion bash)"
FUNC() {
	local IFS=$'\n' answer then word
	answer=($(TOOL CALL bash "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)) || return
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
complete -F FUNC TOOL
`

const zshScript = `#compdef TOOL
# zsh completion of TOOL: a file named _TOOL in $fpath, or
# eval "$(TOOL --completion zsh)"
FUNC() {
	local -a answer lines
	local then line help
	answer=("${(@f)$(TOOL CALL zsh "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
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
	((!$#lines)) || _describe -V TOOL lines
}
if [[ $funcstack[1] == FUNC ]]; then FUNC "$@"; else compdef FUNC TOOL; fi
`

const fishScript = `# fish completion of TOOL: TOOL --completion fish | source
function FUNC
	set -l typed (commandline -opc) (commandline -ct)
	set -l answer (TOOL CALL fish $typed[2..-1] 2>/dev/null)
	or return
	set -l then $answer[-1]
	set -e answer[-1]
	printf '%s\n' $answer
	switch $then
		case ':files'
			__fish_complete_path (commandline -ct)
		case ':command*'
			set -l from (math (string replace ':command ' '' -- $then) + 1)
			complete -C (string join ' ' -- (string escape -- $typed[$from..-2]) $typed[-1])
	end
end
complete -c TOOL -f -a '(FUNC)'
`
