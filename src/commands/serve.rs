//! `alignc serve`: models answer over HTTP.

use crate::args::Serve;
use crate::failure::{Failure, read};
use crate::print::outln;
use crate::serve::{Limits, Named, Settings, is_loopback, serve as answer};
use align_runtime::run::default_memory;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;

/// The environment variable with the token.
const TOKEN: &str = "ALIGNC_TOKEN";
/// Characters of the line that says what is served.
const LINE: usize = 80;

pub fn serve(args: &Serve) -> Result<(), Failure> {
    let models = named(&args.models)?;
    let token = token(args)?;
    if token.is_none() && !is_loopback(&args.host) {
        let said = format!(
            "with --host {} others can reach the models: --token-file names a file with the token that they have to give, or {TOKEN} holds it",
            args.host
        );
        return Err(Failure::Usage(said));
    }
    let listener = TcpListener::bind((args.host.as_str(), args.port))
        .map_err(|error| Failure::new(format!("{}:{} cannot be listened on: {error}", args.host, args.port)))?;
    let address = listener.local_addr().map_err(|error| Failure::new(format!("there is no address: {error}")))?;
    let line = line(&format!("http://{address}/v1"), &models);
    let settings = Settings {
        models,
        limits: Limits {
            prompt: args.max_prompt,
            reply: args.max_reply,
            replies: args.max_n,
            body: args.max_body,
            requests: args.max_requests,
            connections: args.max_connections,
        },
        token,
        log: args.log,
        rows: args.rows,
        memory: args.memory.unwrap_or_else(default_memory),
        threads: super::threads(args.threads),
    };
    answer(settings, listener, || {
        outln!("{line}");
        let _ = std::io::stdout().flush();
    })
}

/// Where the models are, and as many of their names as one line holds.
fn line(address: &str, models: &[Named]) -> String {
    let mut line = format!("{address} has ");
    for (i, model) in models.iter().enumerate() {
        let more = format!("{}{}", if i == 0 { "" } else { ", " }, model.name);
        let left = format!(" and {} more", models.len() - i);
        let is_last = i + 1 == models.len();
        if i > 0 && line.len() + more.len() + if is_last { 0 } else { left.len() } > LINE {
            return line + &left;
        }
        line += &more;
    }
    line
}

/// Models by their names: those that are given, else those of their files and folders.
fn named(models: &[String]) -> Result<Vec<Named>, Failure> {
    let mut all: Vec<Named> = vec![];
    for model in models {
        let (name, path) = match model.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => (name.to_string(), path.to_string()),
            Some(_) => return Err(Failure::Usage(format!("{model}: expected NAME=PATH"))),
            None => (own_name(model), model.clone()),
        };
        if all.iter().any(|other| other.name == name) {
            let said = format!("two models are called {name}: give one of them another name, as in other={path}");
            return Err(Failure::Usage(said));
        }
        all.push(Named { name, path });
    }
    Ok(all)
}

fn own_name(path: &str) -> String {
    if path.starts_with("hf:") {
        return path.to_string();
    }
    let file = Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned());
    let file = file.unwrap_or_else(|| path.to_string());
    file.strip_suffix(".gguf").map(str::to_string).unwrap_or(file)
}

/// The token that requests have to name.
fn token(args: &Serve) -> Result<Option<String>, Failure> {
    let (from, text) = match (&args.token_file, std::env::var(TOKEN)) {
        (Some(file), _) => (file.display().to_string(), read(file)?),
        (None, Ok(text)) => (TOKEN.to_string(), text),
        (None, Err(_)) => return Ok(None),
    };
    let token = text.trim();
    match !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(Some(token.to_string())),
        false => Err(Failure::Usage(format!("{from}: a token is one word of ASCII characters"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |models: &[&str]| named(&models.iter().map(|model| model.to_string()).collect::<Vec<_>>());
        let all = of(&["out/tuned", "a=b/c.gguf", "models/x.gguf", "hf:some/one"]).expect("they are fine");
        let names: Vec<&str> = all.iter().map(|model| model.name.as_str()).collect();
        assert_eq!(names, ["tuned", "a", "x", "hf:some/one"]);
        assert_eq!(all[1].path, "b/c.gguf");
        assert!(of(&["a/x", "b/x"]).is_err() && of(&["=x"]).is_err() && of(&["x="]).is_err());
        let many: Vec<Named> = (0..40).map(|i| Named { name: format!("model-{i}"), path: String::new() }).collect();
        let said = line("http://127.0.0.1:8080/v1", &many);
        assert!(said.len() <= LINE && said.ends_with(" more"), "{said}");
        assert_eq!(line("x", &many[..2]), "x has model-0, model-1");
    }
}
