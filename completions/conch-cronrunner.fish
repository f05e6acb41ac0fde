# fish completion of conch-cronrunner: conch-cronrunner --completion fish | source
function _conch_cronrunner
	set -l typed (commandline -opc) (commandline -ct)
	set -l answer (conch-cronrunner --__complete fish $typed[2..-1] 2>/dev/null)
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
complete -c conch-cronrunner -f -a '(_conch_cronrunner)'
