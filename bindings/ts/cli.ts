#!/usr/bin/env node
// The command line: `zeropoint inspect | quantize | run | ...`. Each command is a file in cli/.
import completion from '@bomb.sh/tab/commander';
import { Command, CommanderError } from 'commander';
import { benchCommand } from './cli/bench.ts';
import {
  exitCode,
  exitCodes,
  installInterrupt,
  isTerminated,
  printError,
  terminatedCode,
} from './cli/common.ts';
import { compareCommand } from './cli/compare.ts';
import { inspectCommand } from './cli/inspect.ts';
import { quantizeCommand } from './cli/quantize.ts';
import { runCommand } from './cli/run.ts';
import { serveCommand } from './cli/serve.ts';
import { simplifyCommand } from './cli/simplify.ts';
import { choices, version } from './node.ts';

const program = new Command('zeropoint')
  .description('Quantizes ONNX models, runs them on integer kernels, and compares them with their originals.')
  .version(version)
  .addHelpText(
    'after',
    `
Examples:
  $ zeropoint inspect model.onnx
  $ zeropoint quantize model.onnx -o small.onnx --calibration samples/ --preset imagenet
  $ zeropoint compare model.onnx small.onnx --inputs samples/ --preset imagenet
  $ zeropoint bench model.onnx small.onnx
  $ zeropoint simplify model.onnx -o simple.onnx
  $ zeropoint serve

Exit codes: ${exitCodes.done} done, ${exitCodes.failed} the work failed, ${exitCodes.wrongCall} the call was wrong,
${exitCodes.cannotRun} the model that was inspected cannot run here, 130 Ctrl-C, ${terminatedCode} SIGTERM.
Each command says more: zeropoint quantize --help`,
  );

// Commander's own exits become errors, so that there is one place that ends the process.
const withoutExit = (command: Command): void => {
  const name = command === program ? '' : ` ${command.name()}`;
  command.exitOverride().showHelpAfterError(`(more: zeropoint${name} --help)`);
  command.commands.forEach(withoutExit);
};

/** The commands that @bomb.sh/tab adds: the one for people is explained as the others are. */
function describeCompletion(of: Command): void {
  of.commands
    .find((command) => command.name() === 'completion')
    ?.description('print a script that completes commands, options and their values in a shell')
    .addHelpText(
      'after',
      `
Examples:
  $ source <(zeropoint completion bash)
  $ source <(zeropoint completion zsh)
  $ zeropoint completion fish | source

A line like this in ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish does it in every shell. It needs the program
zeropoint on the PATH: npm install --global zeropoint.`,
    );
}

installInterrupt();
// Whoever reads our output may have had enough: `zeropoint inspect model.onnx | head`.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit();
});

/** Commands whose flags are the engine's options: it is asked for them where one of these is meant. */
const ofOptions = { inspect: inspectCommand, quantize: quantizeCommand, simplify: simplifyCommand };

try {
  const isMeant = process.argv.slice(2).some((word) => Object.hasOwn(ofOptions, word));
  const schema = isMeant ? (await choices()).schema : undefined;
  for (const command of Object.values(ofOptions)) program.addCommand(command(schema));
  for (const command of [runCommand, compareCommand, benchCommand, serveCommand])
    program.addCommand(command());
  completion(program, { completionCommandName: 'completion' });
  describeCompletion(program);
  withoutExit(program);
  await program.parseAsync();
  if (isTerminated()) process.exitCode = terminatedCode;
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.wrongCall;
  } else {
    printError(error);
    process.exitCode = exitCode(error);
  }
}
