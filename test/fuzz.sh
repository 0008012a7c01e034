#!/bin/sh
# Runs the random tests with fresh seeds, then fuzzes every target of the module for a while each: test/fuzz.sh 30s
set -eu
random=$(go list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... | grep 'pgregory.net/rapid' | cut -d' ' -f1)
# shellcheck disable=SC2086 # one package a word
ROTA_RANDOM=1 go test -count=3 -timeout 30m $random
for pkg in $(go list ./...); do
	dir=$(go list -f '{{.Dir}}' "$pkg")
	for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null | sed 's/^func //'); do
		echo "== $pkg $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${1:-30s}" "$pkg"
	done
done
