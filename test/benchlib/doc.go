// Package benchlib measures Next of package schedule against other libraries. It is a module of its own, so that Rota does not
// depend on them. Each timer is walked from instant to instant by each library in turn, in one process, so that the ratios
// hold on any machine:
//
//	cd test/benchlib && go test -run Table -v
package benchlib
