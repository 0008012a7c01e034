module github.com/rota-dev/rota/test/benchlib

go 1.26.8

require (
	github.com/adhocore/gronx v1.19.6
	github.com/robfig/cron/v3 v3.0.1
	github.com/rota-dev/rota v0.0.0
)

replace github.com/rota-dev/rota => ../..
