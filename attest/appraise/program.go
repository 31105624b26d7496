package appraise

import (
	"fmt"
	"slices"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// costLimit bounds what one expression may spend; a profile may come from
// somewhere else, and a rule over 100,000 claims must still end.
const costLimit = 50_000_000

// lists are what a rule may run over with "each".
var lists = []string{"claims", "marks", "contradictions", "endorsements", "images", "problems", "rebrands", "channels", "children"}

// program is a profile's rules, compiled.
type program struct {
	covers []coverProgram
	rules  []ruleProgram
}

type coverProgram struct{ when, because cel.Program }

type ruleProgram struct{ when, text, met, unmet, refs, next cel.Program }

func (p *Profile) compile() (*program, error) {
	coverEnv, err := cel.NewEnv(ext.Strings(), cel.Variable("e", cel.DynType), cel.Variable("param", cel.DynType))
	if err != nil {
		return nil, err
	}
	vars := []cel.EnvOption{ext.Strings(), cel.Variable("it", cel.DynType), cel.Variable("now", cel.TimestampType)}
	for _, l := range lists {
		vars = append(vars, cel.Variable(l, cel.ListType(cel.DynType)))
	}
	for _, v := range []string{"unit", "maker", "param", "best", "device"} {
		vars = append(vars, cel.Variable(v, cel.DynType))
	}
	vars = append(vars, cel.Variable("device_proven", cel.BoolType))
	ruleEnv, err := cel.NewEnv(vars...)
	if err != nil {
		return nil, err
	}

	var out program
	for i, c := range p.Covers {
		where := fmt.Sprintf("covers %d", i+1)
		var cp coverProgram
		if cp.when, err = compileOne(coverEnv, where+" when", c.When, cel.BoolType); err != nil {
			return nil, err
		}
		if cp.because, err = compileOne(coverEnv, where+" because", c.Because, cel.StringType); err != nil {
			return nil, err
		}
		out.covers = append(out.covers, cp)
	}
	for _, r := range p.Rules {
		var rp ruleProgram
		for _, x := range []struct {
			name, text string
			typ        *cel.Type
			into       *cel.Program
		}{
			{"when", r.When, cel.BoolType, &rp.when},
			{"text", r.Text, cel.StringType, &rp.text},
			{"met", r.Met, cel.StringType, &rp.met},
			{"unmet", r.Unmet, cel.StringType, &rp.unmet},
			{"refs", r.Refs, cel.ListType(cel.DynType), &rp.refs},
			{"next", r.Next, cel.StringType, &rp.next},
		} {
			if x.text == "" {
				continue
			}
			if *x.into, err = compileOne(ruleEnv, "rule "+r.ID+" "+x.name, x.text, x.typ); err != nil {
				return nil, err
			}
		}
		if r.Each != "" && !slices.Contains(lists, r.Each) {
			return nil, fmt.Errorf("rule %s: each %q is not one of %v", r.ID, r.Each, lists)
		}
		out.rules = append(out.rules, rp)
	}
	return &out, nil
}

func compileOne(env *cel.Env, where, text string, want *cel.Type) (cel.Program, error) {
	ast, issues := env.Compile(text)
	if issues.Err() != nil {
		return nil, fmt.Errorf("%s: %w", where, issues.Err())
	}
	if got := ast.OutputType(); !got.IsAssignableType(want) && !got.IsExactType(cel.DynType) {
		return nil, fmt.Errorf("%s: it gives %s, not %s", where, got, want)
	}
	prog, err := env.Program(ast, cel.CostLimit(costLimit), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return prog, nil
}

func evalBool(p cel.Program, where string, vars map[string]any) (bool, error) {
	v, _, err := p.Eval(vars)
	if err != nil {
		return false, fmt.Errorf("%s: %w", where, err)
	}
	b, ok := v.Value().(bool)
	if !ok {
		return false, fmt.Errorf("%s: it gave %v, not true or false", where, v)
	}
	return b, nil
}

func evalString(p cel.Program, where string, vars map[string]any) (string, error) {
	if p == nil {
		return "", nil
	}
	v, _, err := p.Eval(vars)
	if err != nil {
		return "", fmt.Errorf("%s: %w", where, err)
	}
	s, ok := v.Value().(string)
	if !ok {
		return "", fmt.Errorf("%s: it gave %v, not a text", where, v)
	}
	return s, nil
}
