use super::super::bench::Bench;
use super::super::cell::{self, NamedLoad, NoMeter, Place, Plan};
use super::super::tune::{Effort, tune};
use super::*;
use crate::scheduler::trained::Trained;
use crate::sim::platform::Platform;
use crate::sim::{Load, SloMix, network};

fn cells() -> Vec<Cell> {
    let networks = &network::reference()[1..3];
    let surfaces = Platform::built_in("nano").unwrap().surfaces(networks, 4, 2).unwrap();
    let bench = Bench::new(surfaces, SloMix::Same(1.0), 1);
    let effort = Effort { fair: 5, utility: 5, counts: 2 };
    let trained = Trained::shipped();
    let tuned = tune(&bench, &trained, effort, 1).unwrap();
    let plan = Plan {
        policies: vec!["fixed", "deadline"],
        runs: 2,
        shortened: 0.1,
        effort,
        seed: 1,
        trained,
    };
    let place = Place { platform: "nano <4GB>", modelled: true, slo: "default" };
    let loads = [0.5, 1.3]
        .map(|level| NamedLoad { name: format!("steady & {level}"), load: Load::Steady { level } });
    loads
        .iter()
        .map(|load| cell::run(place, &bench, &tuned, load, &plan, &NoMeter).unwrap())
        .collect()
}

#[test]
fn the_page_is_well_formed_needs_nothing_else_and_says_what_is_modelled() {
    let cells = cells();
    let summary = Summary::of("deadline", &cells);
    let published = crate::sim::published::published().unwrap();
    let html = page(&Page {
        seed: 7,
        summary: &summary,
        cells: &cells,
        published: published.into_iter().map(|one| (one, 1.0)).collect(),
        ablations: &[Ablation { rule: "admission", cells: cells.clone() }],
    });
    let xml = html.trim_start_matches("<!DOCTYPE html>");
    let document = roxmltree::Document::parse(xml).unwrap_or_else(|e| panic!("{e}"));
    for outside in ["http://", "https://", "url(", "@import", "<script", "<img", "<link", "src="] {
        let names = "http://www.w3.org/2000/svg";
        assert!(!html.replace(names, "").contains(outside), "{outside}");
    }
    assert!(html.contains("prefers-color-scheme:dark"));
    let texts: String = document.descendants().filter_map(|node| node.text()).collect();
    for wanted in [
        "nano <4GB> (modelled)",
        "steady & 1.3",
        "deadline_starved_cells",
        "What admission is worth",
        "modelled from",
    ] {
        assert!(texts.contains(wanted), "{wanted}");
    }
    let svgs = document.descendants().filter(|node| node.tag_name().name() == "svg").count();
    assert_eq!(svgs, 3, "ratios, hit rates, steady loads");
}
