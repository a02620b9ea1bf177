#!/bin/bash
# Completes command lines with the script that `kfhost completion bash` prints, in a real bash. TAP.
kfhost=build/release/kfhost
number=0
failed=0

result() {
  number=$((number + 1))
  if [[ $2 == "$3" ]]; then
    echo "ok $number - $1"
  else
    printf 'not ok %d - %s\n  got:  %s\n  want: %s\n' "$number" "$1" "$2" "$3"
    failed=1
  fi
}

# complete_line WORD…: what bash would offer for the last word, on one line.
complete_line() {
  COMP_WORDS=("$@")
  COMP_CWORD=$(($# - 1))
  COMPREPLY=()
  _kfhost
  echo "${COMPREPLY[*]}"
}

source <("$kfhost" completion bash)
result "bash knows the completion" "$(complete -p kfhost)" "complete -o default -F _kfhost kfhost"
result "a command is completed" "$(complete_line kfhost comp)" "completion"
result "all commands are offered" \
  "$(complete_line kfhost "" | tr ' ' '\n' | grep -xcE 'completion|help|version')" 3
result "an option is completed" "$(complete_line kfhost version --js)" "--json"
result "no option is offered before a dash" "$(complete_line kfhost version "")" ""
result "the fixed values of an argument are completed" "$(complete_line kfhost completion f)" "fish"
result "a subcommand is completed" "$(complete_line kfhost kale compi)" "compile"
result "an option of a subcommand is completed" "$(complete_line kfhost kale compile --outp)" "--output"
result "file names are left to bash" "$(complete_line kfhost kale compile --output "")" ""

for shell in zsh fish; do
  "$kfhost" completion "$shell" | grep -q 'kale show'
  result "the $shell script knows the subcommands" "$?" 0
done
"$kfhost" completion tcsh 2>/dev/null
result "another shell is a usage error" "$?" 2

echo "1..$number"
exit "$failed"
