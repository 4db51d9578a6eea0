package config

// LoadPolicy reads the policy of one file: its policy block alone counts, with
// the defaults for what is absent. A whole configuration will do, and so will a
// file with nothing but the block. Errors are of type Problems.
func LoadPolicy(file string) (Policy, error) {
	config := Default()
	source, problem := read(file)
	if problem != nil {
		return Policy{}, Problems{*problem}
	}
	problems := config.merge(file, source)
	if len(problems) == 0 {
		k := checker{config: &config}
		k.durations()
		k.policy()
		problems = k.problems
	}
	if len(problems) > 0 {
		return Policy{}, problems.sorted()
	}
	return *config.Policy, nil
}
