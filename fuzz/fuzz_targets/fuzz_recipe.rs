//! `recipe.toml` and `tcforge.lock`: an error names a place in the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tcforge::project::Project;
use tcforge::recipe::{Channel, Channels, Invalid, Lock, Recipe, RecipeError, SourceFile};

fuzz_target!(|text: &str| {
    let source = || SourceFile::new("recipe.toml", text);
    match Recipe::parse(source()) {
        Ok(recipe) => plan(&recipe, text),
        Err(invalid) => in_text(&invalid, text),
    }
    if let Err(invalid) = Lock::parse(&source()) {
        in_text(&invalid, text);
    }
});

fn plan(recipe: &Recipe, text: &str) {
    let project = Project::built_in();
    let channels = Channels::load(&project).expect("the built-in channels are good");
    for channel in channels.iter().collect::<Vec<&Channel>>() {
        if let Err(RecipeError::Invalid(invalid)) = recipe.plan(channel) {
            in_text(&invalid, text);
        }
    }
}

fn in_text(invalid: &Invalid, text: &str) {
    for problem in &invalid.problems {
        assert!(text.get(problem.span.clone()).is_some(), "{problem:?}");
    }
}
