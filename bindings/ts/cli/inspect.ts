import { Command } from 'commander';
import type { Schema } from '../engine/module.ts';
import { type ModelProblem, type ValueInfo, ZeropointError } from '../node.ts';
import { provenanceKey } from '../provenance.ts';
import { byItself } from '../schema.ts';
import {
  addCommonOptions,
  amount,
  begin,
  bytes,
  type CommonOptions,
  exitCodes,
  isStream,
  json,
  parse,
  print,
  shape,
  table,
} from './common.ts';
import { loadModel } from './paths.ts';
import { addSchemeOptions, refuseIgnored, type SchemeArguments, schemeFrom } from './scheme.ts';

interface Options extends CommonOptions {
  dims?: Record<string, number>;
  shape?: Record<string, number[]>;
  layers?: boolean;
}

/** `schema`: not there where another command is wanted. */
export function inspectCommand(schema: Schema | undefined): Command {
  const command = new Command('inspect')
    .description('describe a model, and what quantization would do to it')
    .argument('<model>', 'an ONNX file; - is standard input')
    .optionsGroup('Description:')
    .option('--dims <names>', 'sizes of named dimensions, as in H=640,W=640, to count operations', parse.dims)
    .option(
      '--shape <input:sizes>',
      'all sizes of an input, with or without names, as in x:1,3,48,192',
      parse.shapes,
    )
    .option('--layers', 'list every layer')
    .addHelpText(
      'after',
      `
Examples:
  $ zeropoint inspect model.onnx
  $ zeropoint inspect model.onnx --mode weight-only --weights int4 --layers
  $ zeropoint inspect model.onnx --dims H=640,W=640 --json
  $ zeropoint inspect model.onnx --shape image:1,3,640,640 --shape mask:1,640

Exit code ${exitCodes.cannotRun}: the model cannot run here; the first line says why, and all else is said too.`,
    );
  if (schema) addSchemeOptions(command, schema);
  return addCommonOptions(command).action((path: string, options: Options & SchemeArguments) =>
    inspect(schema as Schema, path, options, command),
  );
}

function printProblem({ message, hint }: ModelProblem): void {
  print(`cannot run here: ${message}`);
  if (hint) print(`  ${hint}`);
}

/** Operations are counted where the sizes of all inputs are known. */
function unknownMacs(inputs: readonly ValueInfo[]): string {
  const names = inputs.flatMap(({ dims }) => (dims ?? []).filter((d) => typeof d === 'string' && d !== '?'));
  const nameless = inputs.filter(({ dims }) => dims?.includes('?') ?? true);
  if (names.length === 0 && nameless.length === 0) return 'none that could be counted';
  const given = [
    ...(names.length > 0 ? [`--dims ${[...new Set(names)].map((name) => `${name}=N`).join(',')}`] : []),
    ...nameless.map(
      ({ name, dims }) =>
        `--shape ${name}:${dims?.map((d) => (typeof d === 'number' ? d : 'N')) ?? 'N,N,...'}`,
    ),
  ];
  return `unknown: give ${given.join(' ')}`;
}

async function inspect(
  schema: Schema,
  path: string,
  options: Options & SchemeArguments,
  command: Command,
): Promise<void> {
  begin(options);
  refuseIgnored(schema, command, (options.mode as string | undefined) ?? byItself(schema, 'mode'));
  const model = await loadModel(path).catch((error: unknown) => {
    // Not even read: an operator set that is too new, say.
    if (!(error instanceof ZeropointError && error.code.startsWith('unsupported-'))) throw error;
    const { code, message, details } = error;
    return { code, message, ...details };
  });
  if ('code' in model) {
    process.exitCode = exitCodes.cannotRun;
    if (options.json) process.stdout.write(json({ problem: model }));
    else printProblem(model);
    return;
  }
  const report = await model.inspect({
    ...schemeFrom(schema, options),
    dims: options.dims,
    shapes: options.shape,
  });
  const { plan, problem } = report;
  if (problem) process.exitCode = exitCodes.cannotRun;
  if (options.json) {
    process.stdout.write(json(report));
    return;
  }
  if (problem) printProblem(problem);
  const opsets = report.opsets.map(({ domain, version }) => `${domain} ${version}`).join(', ');
  print(
    table([
      ['file', `${isStream(path) ? 'standard input' : path}, ${bytes(report.size)}`],
      ['made by', [report.producer, report.producerVersion].filter(Boolean).join(' ') || '-'],
      ['opsets', `${opsets} (ai.onnx ${report.lowestOpset} is enough)`],
      ...model.inputs.map((value) => ['input', `${value.name}: ${shape(value)}`]),
      ...model.outputs.map((value) => ['output', `${value.name}: ${shape(value)}`]),
      ...report.metadata
        .filter(({ key }) => key.startsWith(provenanceKey))
        .map(({ key, value }) => ['made with', `${key}: ${value}`]),
      ['parameters', `${amount(report.parameters)}, ${bytes(report.weightBytes)}`],
      [
        'operations',
        report.macs > 0 ? `${amount(report.macs)} multiply-accumulates` : unknownMacs(model.inputs),
      ],
      [
        'operators',
        `${report.nodes}: ${report.operators.map(({ op, count }) => `${op} ${count}`).join(', ')}`,
      ],
    ]),
  );
  for (const warning of report.warnings) print(`  warning: ${warning}`);
  const share =
    plan.macs > 0 ? `, ${((100 * plan.macsQuantized) / plan.macs).toFixed(1)} % of the operations` : '';
  print(`\n${plan.mode} quantization: ${plan.layersQuantized} of ${plan.layers.length} layers${share}`);
  for (const warning of plan.warnings) if (warning !== problem?.message) print(`  warning: ${warning}`);
  if (options.layers) {
    print(
      table(
        plan.layers.map(({ node, op, quantized, why, macs }) => [
          quantized ? '  q' : '  -',
          op,
          node,
          macs > 0 ? amount(macs) : '',
          why,
        ]),
      ),
    );
    return;
  }
  const reasons = new Map<string, number>();
  for (const { op, quantized, why } of plan.layers) {
    const key = `${quantized ? 'q' : '-'}\t${op.replace(/^ai\.onnx\./, '')}\t${why}`;
    reasons.set(key, (reasons.get(key) ?? 0) + 1);
  }
  print(
    table(
      [...reasons].map(([key, count]) => {
        const [mark = '', op = '', why = ''] = key.split('\t');
        return [`  ${mark}`, String(count), op, why];
      }),
    ),
  );
}
