module sobol

go 1.22

require github.com/c-bata/goptuna v0.9.0
