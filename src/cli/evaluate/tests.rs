use super::*;
use clap::Parser;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

fn planned(words: &[&str]) -> Result<(Grid, &'static str), String> {
    let args = Cli::parse_from([&["evaluate"], words].concat()).args;
    let grid = plan(&args)?;
    let subject = subject(&args, &grid.plan.policies)?;
    Ok((grid, subject))
}

#[test]
fn the_default_is_everything_and_quick_is_less() {
    let (all, _) = planned(&[]).unwrap();
    assert_eq!((all.platforms.len(), all.slo_sets.len(), all.loads.len()), (4, 3, 9));
    assert_eq!(all.steps(), 4 * 3 * 10);
    assert_eq!(all.plan.policies, roster::all());
    let (quick, _) = planned(&["--quick"]).unwrap();
    assert_eq!((quick.platforms.len(), quick.slo_sets.len(), quick.loads.len()), (2, 1, 4));
    let (named, _) = planned(&["--quick", "--platforms", "nano", "--loads", "even"]).unwrap();
    assert_eq!((named.platforms[0].name.as_str(), named.loads[0].name.as_str()), ("nano", "even"));
}

#[test]
fn the_summary_is_about_who_takes_part() {
    let (_, subject) = planned(&["--policies", "deadline,fixed"]).unwrap();
    assert_eq!(subject, "fixed");
    let (_, subject) = planned(&["--policies", "deadline,fixed", "--subject", "deadline"]).unwrap();
    assert_eq!(subject, "deadline");
    let error = planned(&["--policies", "fixed", "--subject", "triton"]).unwrap_err();
    assert!(error.contains("'triton' does not take part"), "{error}");
}

#[test]
fn unknown_names_are_told_with_what_there_is() {
    for (words, expected) in [
        (["--platforms", "nanno"], "there is no platform 'nanno'; there are nano, tx2"),
        (["--policies", "magic"], "there is no policy 'magic'; there are fixed, triton"),
        (["--slos", "loose"], "there is no SLO set 'loose'; there are default, tight, mixed"),
        (["--loads", "none"], "there is no load 'none'; there are steady 0.3"),
    ] {
        let error = planned(&words).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}
