//! rten-runtime MODEL: opens an ONNX file in rten and obeys lines of standard input, with one answer for each.
//!
//!     feed NAME KIND D0,D1,... FILE   an input; KIND is f32, i32, i8 or u8, FILE its elements
//!     run FILE                        runs; the outputs go to FILE as f64; answers NAME D0,D1,... for each, tab-separated
//!     time N                          runs N times; answers the milliseconds of one
//!
//! An answer that begins with "error" says what is wrong. One thread.

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use rten::{Model, NodeId, RunOptions, ThreadPool, Value, ValueOrView};

type Answer = Result<String, Box<dyn Error>>;

fn numbers<T, const N: usize>(bytes: &[u8], from: fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| from(chunk.try_into().unwrap())).collect()
}

struct Runtime {
    model: Model,
    feeds: Vec<(NodeId, Value)>,
    options: RunOptions,
}

impl Runtime {
    fn run(&self) -> Result<Vec<Value>, Box<dyn Error>> {
        let feeds: Vec<(NodeId, ValueOrView)> =
            self.feeds.iter().map(|(id, value)| (*id, ValueOrView::View(value.as_view()))).collect();
        Ok(self.model.run(feeds, self.model.output_ids(), Some(self.options.clone()))?)
    }

    fn feed(&mut self, name: &str, kind: &str, dims: &str, file: &str) -> Answer {
        let id = self.model.node_id(name)?;
        let dims: Vec<usize> = dims.split(',').filter(|d| !d.is_empty()).map(str::parse).collect::<Result<_, _>>()?;
        let bytes = std::fs::read(file)?;
        let value = match kind {
            "f32" => Value::from_shape(dims, numbers(&bytes, f32::from_le_bytes))?,
            "i32" => Value::from_shape(dims, numbers(&bytes, i32::from_le_bytes))?,
            "i8" => Value::from_shape(dims, numbers(&bytes, i8::from_le_bytes))?,
            "u8" => Value::from_shape(dims, bytes)?,
            _ => return Err(format!("rten takes no inputs of {kind}").into()),
        };
        self.feeds.retain(|(other, _)| *other != id);
        self.feeds.push((id, value));
        Ok("fed".into())
    }

    fn write_outputs(&self, file: &str) -> Answer {
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        let mut answer = Vec::new();
        for (id, value) in self.model.output_ids().iter().zip(self.run()?) {
            let mut dims = Vec::new();
            macro_rules! write_all {
                ($tensor:expr) => {{
                    let tensor = $tensor;
                    dims.extend(rten_tensor_dims(tensor.shape().as_ref()));
                    for number in tensor.iter() {
                        out.write_all(&(*number as f64).to_le_bytes())?;
                    }
                }};
            }
            use rten_tensor::prelude::*;
            match &value {
                Value::FloatTensor(t) => write_all!(t),
                Value::Int32Tensor(t) => write_all!(t),
                Value::Int8Tensor(t) => write_all!(t),
                Value::UInt8Tensor(t) => write_all!(t),
                _ => return Err("an output is no tensor".into()),
            }
            let info = self.model.node_info(*id);
            let name = info.as_ref().and_then(|info| info.name()).unwrap_or("");
            answer.push(format!("{name} {}", dims.join(",")));
        }
        Ok(answer.join("\t"))
    }

    fn time(&self, count: u32) -> Answer {
        let start = Instant::now();
        for _ in 0..count {
            self.run()?;
        }
        Ok(format!("{}", start.elapsed().as_secs_f64() * 1000.0 / f64::from(count)))
    }
}

fn rten_tensor_dims(dims: &[usize]) -> impl Iterator<Item = String> + '_ {
    dims.iter().map(usize::to_string)
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("a model's path is needed")?;
    let mut stdout = std::io::stdout();
    let model = match Model::load_file(path) {
        Ok(model) => model,
        Err(error) => {
            writeln!(stdout, "error {}", error.to_string().replace('\n', " "))?;
            return Ok(());
        }
    };
    writeln!(stdout, "open")?;
    let pool = Arc::new(ThreadPool::with_num_threads(1));
    let options = RunOptions::default().with_thread_pool(Some(pool));
    let mut runtime = Runtime { model, feeds: Vec::new(), options };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match words.as_slice() {
            ["feed", name, kind, dims, file] => runtime.feed(name, kind, dims, file),
            ["run", file] => runtime.write_outputs(file),
            ["time", count] => count.parse().map_err(Into::into).and_then(|count| runtime.time(count)),
            _ => Err("there is no such command".into()),
        };
        match answer {
            Ok(text) => writeln!(stdout, "{text}")?,
            Err(error) => writeln!(stdout, "error {}", error.to_string().replace('\n', " "))?,
        }
        stdout.flush()?;
    }
    Ok(())
}
