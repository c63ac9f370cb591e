//! What is written after `alignc`.

use align_compiler::stage::passes::Passes;
use align_runtime::run::size;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(name = "alignc", version, about = "Compiles and runs .align files: align language models.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a program: trains, evaluates, saves
    Run(Run),
    /// Says what a run would do: what is kept, what is new and why, memory, time
    Plan(Plan),
    /// Says why a stage would run again, down to the file, the setting or the code that changed
    Why(Why),
    /// Draws the stages of a program and what reads what
    Graph(Graph),
    /// Runs a program with all combinations of some settings, and compares them in one table
    Sweep(Sweep),
    /// Sets what was planned for a run beside what it took
    Report(Report),
    /// Lists what runs have kept, or removes some of it
    Store(StoreArgs),
    /// Checks programs without running them
    Check(Check),
    /// Formats files in place
    Fmt(Fmt),
    /// Runs the tests that .align files hold
    Test(Test),
    /// Prints a level of the compilation of a program
    Emit(Emit),
    /// Prints the log-probability of each token of a reply under a model
    Score(Score),
    /// Writes replies of a model, as they are drawn
    Generate(Generate),
    /// Lets models answer over HTTP, by the usual interface for chat completions
    #[cfg(feature = "serve")]
    Serve(Serve),
    /// Shows rows as text and tokens, which of these carry loss, and what there is to count
    Data(Data),
    /// Lists the devices that programs can run on, with what they reach now
    Devices(Devices),
    /// Explains a diagnostic code
    Explain { code: String },
}

#[derive(Debug, Args)]
pub struct Run {
    /// The program
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: Settings,
    /// The run's folder [default: out/<name of the file>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    #[command(flatten)]
    pub machine: Machine,
    /// Takes a GPU's kernels as they are likely to be fast, and times no others when a shape first runs. What was timed is
    /// kept in align/kernels.json in the user's cache folder
    #[arg(long)]
    pub no_tune: bool,
    /// Saves a checkpoint every so many steps [default: once a minute]
    #[arg(long, value_name = "STEPS")]
    pub checkpoint_every: Option<usize>,
    /// Writes event files for TensorBoard into the run's folder, those of finished stages too
    #[arg(long)]
    pub tensorboard: bool,
    /// Asks servers again for what earlier runs were answered
    #[arg(long)]
    pub refresh: bool,
    /// Shows where time goes, by kernel and line; profile.json and trace.json in the run's folder have all of it
    #[arg(long)]
    pub profile: bool,
    /// Only runs the first step of each training stage, on all devices and by the interpreter, and shows where they differ
    #[arg(long)]
    pub verify: bool,
    /// Prints only results
    #[arg(long, conflicts_with = "json")]
    pub quiet: bool,
    /// Prints progress and results as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// The program
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub machine: Machine,
    /// The run's folder, which plan.json goes to [default: out/<name of the file>]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Tries no steps: time follows from earlier runs, or from what the device reaches
    #[arg(long)]
    pub quick: bool,
    /// Prints one JSON object a stage
    #[arg(long)]
    pub json: bool,
}

/// What a program runs on.
#[derive(Clone, Copy, Debug, Args)]
pub struct Machine {
    /// Memory that a stage may use, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<usize>,
    /// Where kernels run: `cpu`, `gpu`, `gpu:1`, or `auto`: the one that is likely to be faster
    #[arg(long, value_name = "DEVICE", default_value = "auto", value_parser = Device::parse)]
    pub device: Device,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

#[derive(Debug, Args)]
pub struct Why {
    /// The stage, by its name in `alignc plan`
    pub stage: String,
    /// The program
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: Settings,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Graph {
    /// The program
    pub file: PathBuf,
    #[command(flatten)]
    pub settings: Settings,
    /// Writes a drawing (.svg) or a Graphviz file (.dot) [default: prints DOT]
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Sweep {
    /// The program
    pub file: PathBuf,
    /// A `param` and its values: 0.05,0.1,0.3, or a range as in programs: 1..4 is 1, 2, 3. `seed` is that of all draws unless
    /// a param is called so
    #[arg(long = "set", value_name = "NAME=VALUES", value_parser = setting, required = true)]
    pub sets: Vec<(String, String)>,
    /// The seed of all draws, where it is not among the settings
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    #[command(flatten)]
    pub machine: Machine,
    /// The folder of the sweep [default: out/<name of the file>/sweep]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Prints one JSON object a combination
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Report {
    /// The run's folder, or its program
    pub run: PathBuf,
    /// Prints one JSON object a stage
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct StoreArgs {
    #[command(subcommand)]
    pub command: Option<StoreCommand>,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Lists kept stages, those that were used last at the end
    Ls {
        /// Prints one JSON object a stage
        #[arg(long)]
        json: bool,
    },
    /// Removes kept stages that all of the conditions hold for; never what a run is at work on, or uses
    Prune(Prune),
}

#[derive(Debug, Args)]
pub struct Prune {
    /// That were not used for so long, such as 12h, 30d or 8w
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub unused: Option<std::time::Duration>,
    /// As many, those first that were not used for the longest time, as leave no more than this, such as 10GiB
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub down_to: Option<usize>,
    /// That are not finished
    #[arg(long)]
    pub unfinished: bool,
    /// That come from this program
    #[arg(long, value_name = "FILE")]
    pub program: Option<String>,
    /// Only says what would be removed
    #[arg(long)]
    pub dry: bool,
}

/// Where kernels run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Auto,
    Cpu,
    /// The GPU of this number, or the first.
    Gpu(Option<usize>),
}

impl Device {
    fn parse(text: &str) -> Result<Device, String> {
        match (text, text.strip_prefix("gpu:").map(str::parse)) {
            ("auto", _) => Ok(Device::Auto),
            ("cpu", _) => Ok(Device::Cpu),
            ("gpu", _) => Ok(Device::Gpu(None)),
            (_, Some(Ok(number))) => Ok(Device::Gpu(Some(number))),
            _ => Err("write `auto`, `cpu`, `gpu`, or a number of `alignc devices` as in `gpu:1`".into()),
        }
    }
}

#[derive(Debug, Args)]
pub struct Devices {
    /// Prints JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

/// What changes the program itself.
#[derive(Debug, Args)]
pub struct Settings {
    /// Sets a `param` of the program
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub sets: Vec<(String, String)>,
    /// The seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// Leaves out a pass over the stage graph: results stay the same up to rounding
    #[arg(long = "without", value_name = "PASS", value_parser = pass)]
    pub without: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Check {
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Prints diagnostics as JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Fmt {
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Changes nothing; fails if a file is not formatted
    #[arg(long)]
    pub check: bool,
}

#[derive(Debug, Args)]
pub struct Test {
    /// Files, folders, or `stdlib`
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// A folder of numbers to agree with, a JSON file a method
    #[arg(long, value_name = "DIR")]
    pub vectors: Option<PathBuf>,
    /// Only tests whose name holds this
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
}

#[derive(Debug, Args)]
pub struct Emit {
    pub file: PathBuf,
    #[arg(long, value_enum)]
    pub level: Level,
    /// The stage, for levels below `stages` [default: the first that trains]
    #[arg(long, value_name = "NAME")]
    pub stage: Option<String>,
    /// Of the level `stages`: the graph before all passes, and what each pass changes
    #[arg(long)]
    pub passes: bool,
    #[command(flatten)]
    pub settings: Settings,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Level {
    /// The syntax tree
    Tree,
    /// Types of definitions, lifts, captures
    Types,
    /// The stage graph
    Stages,
    /// The tensor graph of a training step
    Tensor,
    /// Its fused kernels
    Kernels,
    /// The kernels' machine-independent code
    Clif,
    /// The kernels as shaders for a GPU
    Wgsl,
    /// The step loop
    Host,
}

#[derive(Debug, Args)]
pub struct Score {
    /// A model folder or .gguf file
    pub model: PathBuf,
    #[arg(long)]
    pub prompt: String,
    #[arg(long)]
    pub reply: String,
    /// Prints one JSON object
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct Generate {
    /// A model folder, a .gguf file, or a model of a hub
    pub model: String,
    /// What is gone on from; special tokens in it are recognised. With --chat: what the user says
    #[arg(long, required_unless_present = "chat")]
    pub prompt: Option<String>,
    /// A conversation by the model's chat template: lines of standard input are what the user says
    #[arg(long)]
    pub chat: bool,
    /// What a conversation begins with
    #[arg(long, value_name = "TEXT", requires = "chat")]
    pub system: Option<String>,
    /// Tokens of a reply at most
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = from_1)]
    pub max_tokens: usize,
    /// Divides the logits; 0 takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 1.0, value_parser = temperature)]
    pub temperature: f64,
    /// Draws only from the most likely tokens whose probabilities reach P together
    #[arg(long, value_name = "P", value_parser = share)]
    pub top_p: Option<f64>,
    /// Draws JSON alone that a schema allows, which this file has
    #[arg(long, value_name = "FILE", conflicts_with = "regex")]
    pub json_schema: Option<PathBuf>,
    /// Draws texts alone that match a regular expression as a whole
    #[arg(long, value_name = "RE")]
    pub regex: Option<String>,
    /// A smaller model with the same tokens that drafts tokens, which the model then checks several at a time: replies are
    /// distributed as without it
    #[arg(long, value_name = "MODEL")]
    pub draft: Option<String>,
    /// Tokens that are drafted before they are checked
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = from_1, requires = "draft")]
    pub ahead: usize,
    /// The seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// A text that ends the reply; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub stop: Vec<String>,
    /// Replies
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = from_1)]
    pub n: usize,
    #[command(flatten)]
    pub machine: Machine,
    /// Prints one JSON object a reply
    #[arg(long)]
    pub json: bool,
}

#[cfg(feature = "serve")]
#[derive(Debug, Args)]
pub struct Serve {
    /// Model folders, adapters that name their models, .gguf files, or models of a hub; NAME=MODEL says what clients call one
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<String>,
    /// The address that is listened on. Others than this machine's own need a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: String,
    /// The port; 0 takes a free one
    #[arg(long, value_name = "N", default_value_t = 8080)]
    pub port: u16,
    /// A file with a token that requests have to name: `Authorization: Bearer TOKEN` [default: that in ALIGNC_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Replies of a model that are written at once at most; others wait
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = from_1)]
    pub rows: usize,
    /// Tokens of a prompt at most
    #[arg(long, value_name = "TOKENS", default_value_t = 32_768, value_parser = from_1)]
    pub max_prompt: usize,
    /// Tokens of a reply at most
    #[arg(long, value_name = "TOKENS", default_value_t = 4096, value_parser = from_1)]
    pub max_reply: usize,
    /// Replies to one request at most
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = from_1)]
    pub max_n: usize,
    /// Bytes of a request at most
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = memory)]
    pub max_body: usize,
    /// Requests that are open at once at most, with those that wait; more are told to try again
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = from_1)]
    pub max_requests: usize,
    /// Connections at once at most; more wait
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = from_1)]
    pub max_connections: usize,
    /// Memory beside the weights, for what is kept of tokens, such as 2GiB [default: half of the machine's]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<usize>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Prints a line for each request that is over
    #[arg(long)]
    pub log: bool,
}

#[derive(Debug, Args)]
pub struct Data {
    /// A program, or a file of rows: .jsonl, .json, .csv, .tsv, .txt, .parquet
    pub file: PathBuf,
    /// Only the program's data of this name, such as `pairs` or `sums.test` [default: all that stages read]
    #[arg(long = "data", value_name = "NAME")]
    pub name: Option<String>,
    /// Shows so many of the first rows
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rows: usize,
    /// Shows this row alone and whole, counted from 1, and counts nothing
    #[arg(long, value_name = "K", value_parser = from_1, conflicts_with = "rows")]
    pub row: Vec<usize>,
    /// Shows each token with its id
    #[arg(long)]
    pub tokens: bool,
    /// The model whose tokenizer and chat template read data that no stage reads [default: bytes]
    #[arg(long, value_name = "MODEL")]
    pub model: Option<String>,
    /// What the columns of a file of rows are, such as 'Demo { prompt: .question, reply: .answer }'
    #[arg(long = "as", value_name = "RECORD")]
    pub record: Option<String>,
    /// The longest text, in tokens [default: the model's context]
    #[arg(long, value_name = "TOKENS", value_parser = from_1)]
    pub context: Option<usize>,
    #[command(flatten)]
    pub settings: Settings,
    /// Prints one JSON object a line: the data, rows, what was counted. Tokens count from 0 there
    #[arg(long)]
    pub json: bool,
}

fn from_1(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n > 0).ok_or("expected a number from 1 on".into())
}

fn temperature(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|t: &f64| t.is_finite() && *t >= 0.0).ok_or("expected a number from 0 on".into())
}

fn share(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|p: &f64| *p > 0.0 && *p <= 1.0).ok_or("expected a share above 0, up to 1".into())
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

fn pass(text: &str) -> Result<String, String> {
    Passes::without([text]).map(|_| text.to_string())
}

fn age(text: &str) -> Result<std::time::Duration, String> {
    const UNITS: [(char, u64); 4] = [('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    seconds.map(std::time::Duration::from_secs).ok_or("expected an age such as 90m, 12h, 30d or 8w".into())
}

fn memory(text: &str) -> Result<usize, String> {
    size(text).filter(|bytes| *bytes > 0).ok_or("expected a size such as 512MiB or 2GiB".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn ages() {
        let seconds = |text: &str| age(text).map(|age| age.as_secs());
        assert_eq!([seconds("90m"), seconds("2d")], [Ok(5400), Ok(172_800)]);
        assert!(["", "d", "3", "-1d", "1.5h", "99999999999999999w"].iter().all(|text| age(text).is_err()));
    }

    #[test]
    fn settings_are_split_at_the_first_sign() {
        let cli = Cli::parse_from(["alignc", "run", "a.align", "--set", "x=1=2", "--memory", "1GiB"]);
        let Command::Run(run) = cli.command else { panic!("run") };
        assert_eq!(run.settings.sets, [("x".to_string(), "1=2".to_string())]);
        assert!(Cli::try_parse_from(["alignc", "run", "a.align", "--set", "x"]).is_err());
    }
}
