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
     .fallback = "the bits of the type", .field = &Training::weight_bits, .applies = trains},
    {.name = "activationBits", .kind = OptionKind::kInteger, .title = "Bits of an activation",
     .sentence = "Fewer bits for activations than their type has: they are clipped to the integers of these bits.",
     .min = 2, .max = 8, .fallback = "the bits of the type", .field = &Training::activation_bits, .applies = trains},
    {.name = "training", .kind = OptionKind::kOptions, .title = "Training", .sentence = "How mode `qat` trains.",
     .applies = trains},
};

constexpr Option kTraining[] = {
    {.name = "epochs", .group = OptionGroup::kTraining, .kind = OptionKind::kInteger,
     .title = "Epochs: how often each sample is seen", .sentence = "How often each sample is seen.",
     .more = ZP_MORE("With 0 nothing is trained: only `weightBits` and `activationBits` take effect."),
     .min = 0, .max = 100000, .field = &Training::epochs, .applies = trains},
    {.name = "learningRate", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Learning rate",
     .sentence = "The learning rate that the warm-up rises to.", .min = 0, .max = 10, .above = true, .field = &Training::learning_rate,
     .applies = trains},
    {.name = "batchSize", .group = OptionGroup::kTraining, .kind = OptionKind::kInteger, .title = "Batch size",
     .sentence = "The number of samples in one step.", .min = 1, .max = 65536, .field = &Training::batch, .applies = trains},
    {.name = "loss", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Loss",
     .sentence = "The measure of error that training makes small.",
     .more = ZP_MORE("\n"
                     "- `kl`: the distance to the float model's probabilities\n"
                     "- `mse`: the squared distance to the float model's outputs, or to the targets of samples that have "
                     "targets\n"
                     "- `cross-entropy`: the distance to class numbers that samples have as targets\n"
                     "- `auto`: the targets decide; without targets `kl` for rows of classes, else `mse`"),
     .choices = "auto kl mse cross-entropy", .field = &Training::loss, .applies = trains},
    {.name = "optimizer", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Optimizer",
     .sentence = "The rule that makes a step from gradients.", .choices = "adam sgd", .field = &Training::optimizer, .applies = trains},
    {.name = "schedule", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Schedule",
     .sentence = "How the learning rate changes after the warm-up.",
     .more = ZP_MORE("`cosine` lowers it to zero along a cosine. `constant` keeps it. `step` lowers it to a tenth after "
                     "half of the following steps, and to a hundredth after three quarters."),
     .choices = "cosine constant step", .field = &Training::schedule, .applies = trains},
    {.name = "warmUp", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Warm-up",
     .sentence = "The share of all steps in which the learning rate rises.", .min = 0, .max = 1, .below = true,
     .field = &Training::warm_up, .applies = trains},
    {.name = "momentum", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Momentum",
     .sentence = "The momentum of `sgd`.", .min = 0, .max = 1, .below = true, .field = &Training::momentum,
     .applies = trains},
    {.name = "weightDecay", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Weight decay",
     .sentence = "The decay of weights. Biases and scales do not decay.", .min = 0, .max = kAny,
     .field = &Training::weight_decay, .applies = trains},
    {.name = "clipNorm", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Clip gradients to",
     .sentence = "The largest norm of all gradients together; 0 means no limit.", .min = 0, .max = kAny,
     .field = &Training::clip_norm, .applies = trains},
    {.name = "validation", .group = OptionGroup::kTraining, .kind = OptionKind::kNumber, .title = "Kept aside",
     .sentence = "The share of the samples that is kept aside to choose the best epoch.", .min = 0, .max = 1,
     .below = true, .field = &Training::validation, .applies = trains},
    {.name = "scales", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Scales",
     .sentence = "How scales change after calibration.",
     .more = ZP_MORE("\n"
                     "- `learned`: gradient descent trains them, as it trains weights (LSQ, Esser et al. 2020)\n"
                     "- `moving-average`: scales of activations follow the ranges of batches, and scales of weights "
                     "follow the largest weights (Jacob et al. 2018)\n"
                     "- `fixed`: they stay as calibrated"),
     .choices = "learned moving-average fixed", .field = &Training::scales, .applies = trains},
    {.name = "zeroPoints", .group = OptionGroup::kTraining, .kind = OptionKind::kChoice, .title = "Zero points",
     .sentence = "Whether zero points of activations are learned too, or stay as calibrated.",
     .more = ZP_MORE("LSQ+, Bhalgat et al. 2020."),
     .choices = "fixed learned", .flag = "learn-zero-points", .flag_sets = "learned",
     .field = &Training::learn_zero_points, .applies = trains},
    {.name = "intermediate", .group = OptionGroup::kTraining, .kind = OptionKind::kNames, .title = "Values inside",
     .sentence = "Float values inside the model, by name, that training pulls towards the float model's too.",
     .more = ZP_MORE("The mean squared error of each, relative to its power, is added to the loss."),
     .field = &Training::intermediate, .applies = trains},
    {.name = "blocks", .group = OptionGroup::kTraining, .kind = OptionKind::kFlag,
     .title = "Block by block, for few samples (cannot go on after a reload)",
     .sentence = "Train one block after the other, each towards the float model's values at its end.",
     .more = ZP_MORE("Each block takes the outputs of the blocks before it and learns to give the float model's values "
                     "(BRECQ, Li et al. 2021). Each weight learns which of the two nearest integers it is rounded to. "
                     "Scales of weights (unless `scales` is `fixed`) and biases are trained too. Blocks are for few "
                     "samples: each sample teaches a block by many numbers. `epochs` counts for each block. Blocks "
                     "refuse every `loss` but `mse` and `auto`, `scales` as a moving average, learned `zeroPoints`, "
                     "`intermediate`, `freeze` and checkpoints."),
     .field = &Training::blocks, .applies = trains},
    {.name = "freeze", .group = OptionGroup::kTraining, .kind = OptionKind::kFlag, .title = "Freeze layers that get no gradient",
     .sentence = "Leave layers before an operator without a gradient untrained; without `freeze` they are an error.",
     .field = &Training::freeze, .applies = trains},
    {.name = "memoryLimit", .group = OptionGroup::kTraining, .kind = OptionKind::kBytes, .title = "Memory",
     .sentence = "The memory that samples, parameters and the values of a step may take, in bytes or as '500MB'.",
     .more = ZP_MORE("A batch that needs more memory is computed in parts. If one sample needs more, quantize() throws "
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
