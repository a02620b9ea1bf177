// What goptuna's Sobol sampler, which Katib's service wraps, gives for the spaces on standard input.
package main

import (
	"encoding/json"
	"os"
	"strconv"

	"github.com/c-bata/goptuna"
	"github.com/c-bata/goptuna/sobol"
)

type parameter struct {
	Name, ParameterType string
	FeasibleSpace       struct {
		Min, Max, Step string
		List           []string
	}
}

type testCase struct {
	Parameters []parameter         `json:"parameters"`
	Points     []map[string]string `json:"points"`
}

func number(text string) float64 {
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic(err)
	}
	return value
}

func distribution(p parameter) interface{} {
	s := p.FeasibleSpace
	switch {
	case p.ParameterType == "double" && s.Step == "":
		return goptuna.UniformDistribution{Low: number(s.Min), High: number(s.Max)}
	case p.ParameterType == "double":
		return goptuna.DiscreteUniformDistribution{Low: number(s.Min), High: number(s.Max), Q: number(s.Step)}
	case p.ParameterType == "int" && s.Step == "":
		return goptuna.IntUniformDistribution{Low: int(number(s.Min)), High: int(number(s.Max))}
	case p.ParameterType == "int":
		return goptuna.StepIntUniformDistribution{Low: int(number(s.Min)), High: int(number(s.Max)), Step: int(number(s.Step))}
	}
	return goptuna.CategoricalDistribution{Choices: s.List}
}

func text(d interface{}, value float64) string {
	switch t := d.(type) {
	case goptuna.IntUniformDistribution, goptuna.StepIntUniformDistribution:
		return strconv.Itoa(int(value))
	case goptuna.CategoricalDistribution:
		return t.Choices[int(value)]
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

func main() {
	var cases []testCase
	if err := json.NewDecoder(os.Stdin).Decode(&cases); err != nil {
		panic(err)
	}
	for i := range cases {
		space := map[string]interface{}{}
		for _, p := range cases[i].Parameters {
			space[p.Name] = distribution(p)
		}
		sampler := sobol.NewSampler()
		for len(cases[i].Points) < 40 {
			values, err := sampler.SampleRelative(nil, goptuna.FrozenTrial{}, space)
			if err != nil {
				panic(err)
			}
			point := map[string]string{}
			for name, value := range values {
				point[name] = text(space[name], value)
			}
			cases[i].Points = append(cases[i].Points, point)
		}
	}
	json.NewEncoder(os.Stdout).Encode(cases)
}
