import { basename } from 'node:path';
import { Command } from 'commander';
import type { Schema } from '../engine/module.ts';
import { Model } from '../node.ts';
import {
  addCommonOptions,
  begin,
  bytes,
  exitCodes,
  groups,
  interrupted,
  isStream,
  parse,
  print,
  sizeChange,
  table,
} from './common.ts';
import { doJobs, type Job, type JobOptions, jobsOf } from './jobs.ts';
import { checkOutput, inputsOf, loadModel, modelsWords, writeModelFiles } from './paths.ts';
import { addProgressOption, terminal } from './progress.ts';
import { addFileOptions, fileOptionsFrom, type SchemeArguments } from './scheme.ts';

interface Options extends JobOptions {
  dims?: Record<string, number>;
  shape?: Record<string, number[]>;
}

/** `schema`: not there where another command is wanted. */
export function simplifyCommand(schema: Schema | undefined): Command {
  const command = new Command('simplify')
    .description(
      'compute constants, join layers, remove nodes that do nothing: the steps before quantization',
    )
    .argument('<models...>', modelsWords)
    .optionsGroup(groups.files)
    .requiredOption(
      '-o, --output <path>',
      'where the result goes: a file, a folder, or - for standard output',
    )
    .option('--force', 'overwrite outputs that exist')
    .optionsGroup('Shapes:')
    .option('--dims <names>', 'fix the sizes of named dimensions, as in H=640,W=640', parse.dims)
    .option(
      '--shape <input:sizes>',
      'fix all sizes of an input, with or without names, as in x:1,3,48,192',
      parse.shapes,
    )
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint simplify model.onnx -o simple.onnx
  $ zeropoint simplify model.onnx -o fixed.onnx --shape x:1,3,48,192
  $ zeropoint simplify models/ -o simple/ --json

Exit codes: ${exitCodes.done} all models were simplified, ${exitCodes.failed} one of them was not, ${exitCodes.wrongCall} the call was wrong.`,
    );
  if (schema) addFileOptions(command, schema);
  return addProgressOption(addCommonOptions(command, { jsonFile: true })).action(
    async (words: string[], options: Options & SchemeArguments) => {
      begin(options);
      const jobs = await jobsOf(words, options, {});
      await doJobs(jobs, options, 'simplified', (job) => simplify(schema as Schema, job, options));
    },
  );
}

async function simplify(schema: Schema, job: Job, options: Options & SchemeArguments): Promise<object> {
  const { path } = job.source;
  const model = await loadModel(path);
  const inputs = inputsOf(path, model);
  await checkOutput(job.output, inputs, options.force, true);
  const shown = terminal(options, 0, job.of);
  try {
    const before = await model.inspect();
    const simple = await model.simplify({
      ...fileOptionsFrom(schema, options),
      dims: options.dims,
      shapes: options.shape,
      onProgress: shown.progress,
      signal: interrupted,
    });
    shown.end();
    const files = await simple.toFiles({ name: isStream(job.output) ? 'model.onnx' : basename(job.output) });
    await writeModelFiles(job.output, files, inputs, options.force);
    // Counts the nodes of the file: an operator that the file's opset does not have is written as several.
    const [first] = files;
    const written = await (first && isStream(job.output)
      ? Model.load(await first.bytes())
      : loadModel(job.output));
    const after = await written.inspect();
    await written.dispose();
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const counts = (report: typeof before) => new Map(report.operators.map(({ op, count }) => [op, count]));
    const [had, has] = [counts(before), counts(after)];
    const operators = [...new Set([...had.keys(), ...has.keys()])].sort().map((op) => ({
      op,
      before: had.get(op) ?? 0,
      after: has.get(op) ?? 0,
    }));
    const result = {
      output: job.output,
      sizeBefore: model.size,
      sizeAfter: size,
      nodesBefore: before.nodes,
      nodesAfter: after.nodes,
      operators,
      files: files.map(({ name, size: own }) => ({ name, size: own })),
    };
    if (options.json !== true) printResult(result);
    await simple.dispose();
    return result;
  } finally {
    shown.end();
    await model.dispose();
  }
}

function printResult({
  output,
  sizeBefore,
  sizeAfter,
  nodesBefore,
  nodesAfter,
  operators,
}: {
  output: string;
  sizeBefore: number;
  sizeAfter: number;
  nodesBefore: number;
  nodesAfter: number;
  operators: readonly { op: string; before: number; after: number }[];
}): void {
  const changed = (before: number, after: number) =>
    after === before ? '' : after > before ? `+${after - before}` : String(after - before);
  print(
    table([
      ['written', isStream(output) ? 'to standard output' : output],
      ['size', `${bytes(sizeBefore)} → ${bytes(sizeAfter)} (${sizeChange(sizeBefore, sizeAfter)})`],
    ]),
  );
  print('');
  print(
    table([
      ['operator', 'before', 'after', ''],
      ...operators.map(({ op, before, after }) => [
        op,
        String(before),
        String(after),
        changed(before, after),
      ]),
      ['all', String(nodesBefore), String(nodesAfter), changed(nodesBefore, nodesAfter)],
    ]),
  );
}
