#include "train/qat/options.h"

#include <limits>

#include "quant/options.h"

namespace zp::train {
namespace {

using quant::Config;
using quant::Option;
using quant::OptionGroup;
using quant::OptionKind;
using quant::Training;

constexpr double kAny = std::numeric_limits<double>::infinity();
constexpr double kMostWhole = 9007199254740991;  // that JavaScript has

bool trains(const quant::Scheme& s) { return s.trains; }

// clang-format off
constexpr Option kScheme[] = {
    {.name = "weightBits", .kind = OptionKind::kInteger, .title = "Bits of a weight",
     .sentence = "Fewer bits for weights than their type has.", .min = 2, .max = 8,
     .fallback = "those of the type", .field = &Training::weight_bits, .applies = trains},
    {.name = "activationBits", .kind = OptionKind::kInteger, .title = "Bits of an activation",
     .sentence = "Fewer bits for activations than their type has: they are clipped to so many integers of it.",
     .min = 2, .max = 8, .fallback = "those of the type", .field = &Training::activation_bits, .applies = trains},
    {.name = "training", .kind = OptionKind::kOptions, .title = "Training", .sentence = "How mode `qat` trains.",
     .applies = trains},
};

constexpr Option kTraining[] = {
    {.name = "epochs", .group = OptionGroup::kTraining, .kind = OptionKind::kInteger,
     .title = "Epochs: how often each sample is seen", .sentence = "How often each sample is seen.",
     .more = ZP_MORE("0: not at all, only `weightBits` and `activationBits` take effect."),
     .min = 0, .max = 100000, .field = &Training::epochs, .applies = trains},
    {.name = "learningRate", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Learning rate",
     .sentence = "The largest step.", .min = 0, .max = 10, .above = true, .field = &Training::learning_rate,
     .applies = trains},
    {.name = "batchSize", .group = OptionGroup::kTraining, .kind = OptionKind::kInteger, .title = "Batch size",
     .sentence = "Samples of one step.", .min = 1, .max = 65536, .field = &Training::batch, .applies = trains},
    {.name = "loss", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Loss",
     .sentence = "What training makes small.",
     .more = ZP_MORE("\n"
                     "- `kl`: the distance to the float model's probabilities\n"
                     "- `mse`: the squared distance to its outputs, or to the targets, where samples have them\n"
                     "- `cross-entropy`: against class numbers that samples bring\n"
                     "- `auto`: as the targets say; without targets `kl` for rows of classes, else `mse`"),
     .choices = "auto kl mse cross-entropy", .field = &Training::loss, .applies = trains},
    {.name = "optimizer", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Optimizer",
     .sentence = "How steps are made.", .choices = "adam sgd", .field = &Training::optimizer, .applies = trains},
    {.name = "schedule", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Schedule",
     .sentence = "How the learning rate goes on after the warm-up.",
     .more = ZP_MORE("Down to nothing along a cosine, not at all, or in steps: to a tenth at the half and a hundredth "
                     "at three quarters."),
     .choices = "cosine constant step", .field = &Training::schedule, .applies = trains},
    {.name = "warmUp", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Warm-up",
     .sentence = "The part of all steps in which the learning rate rises.", .min = 0, .max = 1, .below = true,
     .field = &Training::warm_up, .applies = trains},
    {.name = "momentum", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Momentum",
     .sentence = "The momentum of `sgd`.", .min = 0, .max = 1, .below = true, .field = &Training::momentum,
     .applies = trains},
    {.name = "weightDecay", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Weight decay",
     .sentence = "The decay of weights, not of biases and scales.", .min = 0, .max = kAny,
     .field = &Training::weight_decay, .applies = trains},
    {.name = "clipNorm", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Clip gradients to",
     .sentence = "The largest length of all gradients together; 0: any.", .min = 0, .max = kAny,
     .field = &Training::clip_norm, .applies = trains},
    {.name = "validation", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Kept aside",
     .sentence = "The part of the samples that is kept aside to choose the best epoch by.", .min = 0, .max = 1,
     .below = true, .field = &Training::validation, .applies = trains},
    {.name = "scales", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Scales",
     .sentence = "How scales go on from where calibration left them.",
     .more = ZP_MORE("\n"
                     "- `learned`: by gradient descent, as the weights (LSQ, Esser et al. 2020)\n"
                     "- `moving-average`: those of activations follow the ranges that batches have, those of weights "
                     "their largest values (Jacob et al. 2018)\n"
                     "- `fixed`: as calibrated"),
     .choices = "learned moving-average fixed", .field = &Training::scales, .applies = trains},
    {.name = "zeroPoints", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Zero points",
     .sentence = "Whether zero points of activations are learned too, or stay where they are.",
     .more = ZP_MORE("LSQ+, Bhalgat et al. 2020."),
     .choices = "fixed learned", .flag = "learn-zero-points", .flag_sets = "learned",
     .field = &Training::learn_zero_points, .applies = trains},
    {.name = "intermediate", .group = OptionGroup::kTraining, .kind = OptionKind::kNames, .title = "Values inside",
     .sentence = "Float values inside the model, by name, that are to be as in the float model too.",
     .more = ZP_MORE("The mean squared error of each, relative to its power, is added to the loss."),
     .field = &Training::intermediate, .applies = trains},
    {.name = "blocks", .group = OptionGroup::kTraining, .kind = OptionKind::kFlag,
     .title = "Block by block, for few samples (cannot go on after a reload)",
     .sentence = "Train block after block, each towards what the float model makes at its end.",
     .more = ZP_MORE("Each block learns, with what the blocks before it make, to give what the float model gives there "
                     "(BRECQ, Li et al. 2021). Weights learn to which of the two integers next to them they are "
                     "rounded; their scales (unless `scales` is `fixed`) and biases are trained too. Made for few "
                     "samples: each one teaches a block by many numbers. `epochs` are those of each block. Another "
                     "`loss` than `mse`, `zeroPoints`, `intermediate`, `freeze` and checkpoints cannot be had with "
                     "it."),
     .field = &Training::blocks, .applies = trains},
    {.name = "freeze", .group = OptionGroup::kTraining, .kind = OptionKind::kFlag, .title = "Freeze",
     .sentence = "Leave what comes before an operator without a gradient as it is, where that is else an error.",
     .field = &Training::freeze, .applies = trains},
    {.name = "memoryLimit", .group = OptionGroup::kTraining, .kind = OptionKind::kBytes, .title = "Memory",
     .sentence = "What samples, parameters and the values of a step may take, in bytes or as '500MB'.",
     .more = ZP_MORE("A batch that needs more goes in parts; where a single sample does, quantize() throws "
                     "`out-of-memory`."),
     .field = &Training::memory_limit, .applies = trains},
    {.name = "seed", .group = OptionGroup::kTraining, .kind = OptionKind::kInteger, .title = "Seed",
     .sentence = "The same seed gives the same model.", .min = 0, .max = kMostWhole, .field = &Training::seed,
     .applies = trains},
};
// clang-format on

const quant::RegisterOptions kOfScheme(kScheme), kOfTraining(kTraining);

}  // namespace

void check_options(const Config& config) {
  quant::check_options(config, kScheme);
  quant::check_options(config, kTraining);
}

}  // namespace zp::train
