"""The model card: what a model is for, what it is not for, and how far it can be trusted."""

from hrf_utils.confidence import COVERAGE
from hrf_utils.intervals import show
from hrf_utils.tasks import Task


def card(task: Task, manifest: dict, metrics: dict | None = None) -> str:
    """The card in Markdown: after training alone, or with the `metrics` of the performance chapter."""
    labels = "\n".join(f"- {label.number} {label.name}: {label.definition}" for label in task.labels)
    rows = manifest["rows"]
    names = ", ".join(manifest["supplement"])
    forms = ", ".join(manifest.get("normalise", []))
    left_out = f"`tokenizer.json` leaves out {forms}, which could tell where a post came from.\n" if forms else ""
    extra = f", and {rows['supplement']:,} invented posts ({names}) beside them" if names else ""
    return f"""---
tags: [text-classification]
---
# {task.title}

Answers the question "{task.question}" for one short English post. Trained on {manifest['trained_at'][:10]}:
the encoder `{manifest['encoder']}` reads, a linear model of word pieces and their pairs counts, and the answer mixes
their calibrated probabilities, two parts to one.

## Labels
{labels}

## Intended use
Ranking posts for a person to read, and counting with error bars.

## Prohibited use
No decision about a person or an account, no police deployment, no automatic reply, no language other than
English. A label is what a text says, not proof that it happened.

## Data
Data set {', '.join(manifest['datasets'])}: {rows.get('train', 0):,} rows to train on{extra};
{rows.get('validation', 0):,} for temperatures and thresholds; {rows.get('test', 0):,} frozen for the test.
Digest of rows and split: `{manifest['data_sha256']}`.

## Performance
{_performance(task, metrics) if metrics else _validation(manifest)}
## Known failures
Sarcasm, fiction that reads like news, several events in one post, who did it to whom, and anything
the training data rarely shows.{_failures(task, metrics) if metrics else ""}

## Use without this project
ONNX Runtime: `model.onnx` takes `input_ids` and `attention_mask` from `tokenizer.json`, at most
{manifest['tokens']} tokens, and returns logits; divide them by {manifest['temperature']:.4f} before the softmax.
Believe an answer whose probability is at least {manifest['thresholds']['abstain']:.2f} (nine in ten such validation
rows were right), and read all labels of at least {manifest['thresholds']['set']:.2f} as the set that holds the true
one {COVERAGE:.0%} of the time.
{left_out}"""


def _validation(manifest: dict) -> str:
    cell = manifest["validation"]
    return (f"On the {cell['n']:,} validation rows: accuracy {cell['accuracy']:.3f}, macro-F1 {cell['macro_f1']:.3f}. "
            "The figures to quote are those of the frozen test rows, which the performance chapter adds here.\n")


def _performance(task: Task, metrics: dict) -> str:
    clean = f"accuracy on the {metrics['clean']['n']:,} rows without a relative in training"
    rows = {"accuracy": metrics["accuracy"], "macro-F1": metrics["macro_f1"],
            "yes-or-no accuracy": metrics["binary"]["accuracy"], clean: metrics["clean"]["accuracy"]}
    rows |= {f"F1 of {label.name}, n = {row['support']:,}": row["f1"] for label in task.labels
             if (row := metrics["per_label"][str(label.number)])["support"]}
    rows |= {f"macro-F1 above {name.replace('_', ' ')}": row["difference"]["macro_f1"]
             for name, row in metrics["baselines"].items()}
    lines = "\n".join(f"| {name} | {show(cell)} |" for name, cell in rows.items())
    alarms = "; ".join(f"{name}: {show(cell, percent=True)}" for name, cell in metrics["false_alarms"].items())
    kinds = metrics.get("kinds") or {"flagged": {}, "flagged_at_recall_0.8": {}}
    flagged = "".join(f"- {kind} ({cell['n']:,} posts by {cell['authors']:,} authors): share flagged {show(cell)}"
                      + (f"; {show(at)} where 80% of the positives are found"
                         if (at := kinds["flagged_at_recall_0.8"].get(kind)) else "") + "\n"
                      for kind, cell in kinds["flagged"].items())
    return (f"On {metrics['n']:,} frozen test rows, with 95% intervals:\n\n| measure | value |\n|---|---|\n{lines}\n\n"
            f"Calibration error {metrics['calibration']['ece']:.3f}.\n\n"
            f"**Prevalence.** Share of the flagged posts that would be wrong, were positives as rare as: {alarms}.\n"
            + (f"\nBy kind:\n\n{flagged}" if flagged else ""))


def _failures(task: Task, metrics: dict) -> str:
    told = ""
    if metrics.get("behaviour"):
        cell = metrics["behaviour"]["all"]
        worst = list(metrics["behaviour"]["by_capability"].items())[:4]
        told = (f" Of {cell['cases']:,} behavioural cases it fails {show(cell, percent=True)}; most often: "
                + "; ".join(f"{name} ({row['failed']} of {row['cases']})" for name, row in worst) + ".")
    few = [label.name for label in task.labels if 0 < metrics["per_label"][str(label.number)]["support"] < 10]
    return told + (f" Fewer than ten test rows: {', '.join(few)}; nothing is claimed of them." if few else "")
