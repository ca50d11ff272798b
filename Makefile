# For those whose fingers type make; ./run.sh does the work.
.PHONY: serve demo test bench migrate
serve demo test bench migrate:
	@./run.sh $@
