//! From the command line to a [`LoadPlan`].

use super::Args;
use crate::load::{Load, LoadPlan, MAX_SECONDS, ModelRate};
use crate::workload::{Bursts, Process, Trace};
use std::sync::Arc;

/// # Errors
/// When arguments are wrong by themselves or contradict each other.
pub(super) fn from_args(args: &Args) -> Result<LoadPlan, String> {
    let load = load(args)?;
    let whole_trace = matches!(load, Load::Trace(_)) && args.seconds.is_none();
    let mut plan = LoadPlan::new(args.socket.path()?, load);
    if whole_trace {
        plan.seconds = MAX_SECONDS;
    }
    plan.seconds = args.seconds.unwrap_or(plan.seconds);
    plan.warmup_seconds = args.warmup;
    plan.slo_us = args.slo_us;
    plan.connections = args.connections;
    plan.shared_memory = args.shm;
    plan.seed = args.seed;
    Ok(plan)
}

fn load(args: &Args) -> Result<Load, String> {
    let words: Vec<&str> = args.arrivals.iter().map(String::as_str).collect();
    if let (Some(_), [process, ..]) = (args.concurrency, &words[..]) {
        return Err(format!(
            "--concurrency is a closed loop, in which replies bring the next requests: it can't be \
             combined with --arrivals {process}"
        ));
    }
    let process = match words[..] {
        [] | ["poisson"] => Process::Poisson,
        ["uniform"] => Process::Uniform,
        ["bursty"] => Process::Bursty(Bursts::default()),
        ["trace", file] => return trace(args, file),
        ["trace"] => return Err("--arrivals trace needs a file: --arrivals trace FILE".into()),
        _ => {
            return Err(format!(
                "--arrivals {}: poisson, uniform, bursty or trace FILE is expected",
                words.join(" ")
            ));
        }
    };
    let rates = args.model.iter().filter(|model| model.contains('=')).count();
    if rates == 0 && words.is_empty() {
        // Without a rate there is no schedule; one request at a time is the gentlest load.
        let concurrency = args.concurrency.unwrap_or(1);
        return Ok(Load::Closed { models: unique(&args.model)?, concurrency });
    }
    if args.concurrency.is_some() {
        return Err("with --concurrency the server's replies set the rate: write --model MODEL, \
                    without =RATE"
            .into());
    }
    let models: Vec<ModelRate> =
        args.model.iter().map(|text| model_rate(text)).collect::<Result<_, _>>()?;
    if models.is_empty() {
        return Err(format!("--arrivals {} needs rates: --model MODEL=RATE", words.join(" ")));
    }
    let names: Vec<String> = models.iter().map(|model| model.model.clone()).collect();
    unique(&names)?;
    Ok(Load::Open { models, process })
}

fn trace(args: &Args, file: &str) -> Result<Load, String> {
    if !args.model.is_empty() {
        return Err("a trace names its models: --model can't be combined with it".into());
    }
    let text = std::fs::read_to_string(file).map_err(|e| format!("can't read {file}: {e}"))?;
    let trace = Trace::parse(&text).map_err(|e| format!("{file}: {e}"))?;
    Ok(Load::Trace(Arc::new(trace)))
}

fn model_rate(text: &str) -> Result<ModelRate, String> {
    let expected = "MODEL=RATE is expected, such as resnet18=40";
    let Some((model, rate)) = text.rsplit_once('=') else {
        return Err(format!("--model {text} has no rate: {expected}"));
    };
    match rate.parse::<f64>() {
        _ if model.is_empty() => Err(format!("--model {text} names no model: {expected}")),
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(ModelRate { model: model.into(), rate }),
        _ => Err(format!(
            "--model {text}: '{rate}' is not a rate in requests per second above 0; {expected}"
        )),
    }
}

fn unique(names: &[String]) -> Result<Vec<String>, String> {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(format!("--model {name} is given twice"));
        }
    }
    Ok(names.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(clap::Parser, Debug)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<LoadPlan, String> {
        let words = std::iter::once("load").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|e| e.to_string())?;
        from_args(&line.args)
    }

    #[test]
    fn rates_make_an_open_loop() {
        let plan = plan("--model a=40 b=2.5 --model c=1 --arrivals bursty --seed 9").unwrap();
        let Load::Open { models, process } = plan.load else { panic!("{:?}", plan.load) };
        let rates: Vec<(&str, f64)> = models.iter().map(|m| (m.model.as_str(), m.rate)).collect();
        assert_eq!(rates, [("a", 40.0), ("b", 2.5), ("c", 1.0)]);
        assert_eq!(process, Process::Bursty(Bursts::default()));
        assert_eq!((plan.seed, plan.socket.to_str()), (9, Some("bcedge.sock")));
    }

    #[test]
    fn no_rates_make_a_closed_loop() {
        for (line, expected) in
            [("", 1), ("--concurrency 16", 16), ("--model a --concurrency 2", 2)]
        {
            let plan = plan(line).unwrap();
            let Load::Closed { concurrency, .. } = plan.load else { panic!("{:?}", plan.load) };
            assert_eq!(concurrency, expected, "{line}");
        }
    }

    #[test]
    fn wrong_arguments_are_explained() {
        for (line, expected) in [
            ("--model a=0", "'0' is not a rate"),
            ("--model a=fast", "'fast' is not a rate"),
            ("--model =5", "names no model"),
            ("--model a=5 --model b", "--model b has no rate"),
            ("--model a=5 --model a=6", "given twice"),
            ("--model a=5 --concurrency 4", "without =RATE"),
            ("--concurrency 4 --arrivals poisson", "closed loop"),
            ("--arrivals uniform", "needs rates"),
            ("--arrivals often --model a=1", "poisson, uniform, bursty or trace FILE"),
            ("--arrivals trace", "needs a file"),
            ("--arrivals trace /no/such/file", "can't read /no/such/file"),
            ("--slo-us 0 --model a=1", "0 is not in 1"),
            ("--socket x --config y", "cannot be used with"),
        ] {
            let text = plan(line).expect_err(line);
            assert!(text.contains(expected), "{line}: {text}");
        }
    }

    #[test]
    fn a_broken_trace_is_reported_with_file_and_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0 a\nb\n").unwrap();
        let name = file.path().display();
        let text = plan(&format!("--arrivals trace {name}")).unwrap_err();
        assert!(text.starts_with(&format!("{name}: line 2: 'b' is not")), "{text}");
        std::fs::write(file.path(), "0 a\n90 b\n").unwrap();
        assert_eq!(plan(&format!("--arrivals trace {name}")).unwrap().seconds, MAX_SECONDS);
    }
}
