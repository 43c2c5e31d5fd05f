# For hands that type make: everything is in ./dev.
.PHONY: deps build demo test bench lint clean
deps build demo test bench lint clean:
	@./dev $@
