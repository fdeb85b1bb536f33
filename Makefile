# make check is what CI runs: both are .ci/run.

.PHONY: check lint test build

check: ## every check, then the tests
	.ci/run

lint: ## every check but the tests
	.ci/run lint

test:
	go test ./...

build: ## a static binary, ./doob
	CGO_ENABLED=0 go build -trimpath -o doob ./cmd/doob
