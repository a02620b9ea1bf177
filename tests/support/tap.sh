# For tests in shell: results in TAP. To be read with `.`; ends with `finish`.
number=0
failed=0

# result DESCRIPTION STATUS
result() {
  number=$((number + 1))
  if [ "$2" -eq 0 ]; then echo "ok $number - $1"
  else
    echo "not ok $number - $1"
    failed=1
  fi
}

finish() {
  echo "1..$number"
  exit "$failed"
}
