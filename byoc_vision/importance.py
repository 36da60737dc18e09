"""Which hyperparameters mattered in a search."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from byoc_vision.debugger.trials import Search

#: Judged trials below which nothing can be said.
LEAST = 10

#: What counts as the best trials: this share of them, and as many at least as the method needs.
_BEST, _FEWEST = 0.1, 5


def of(search: "Search") -> dict[str, float]:
    """Return each hyperparameter's share of what tells the best trials (a tenth, at least five) from all of them.

    It is Optuna's PED-ANOVA (Watanabe et al., 2023, arXiv:2304.10255); the shares sum to 1, the greatest first. Nothing
    is returned for a search of too few trials, or of one in which nothing varies.
    """
    from byoc_vision.debugger.trials import is_wide, numbers

    whole = [trial for trial in search.judged if len(trial.settings) == len(search.hyperparameters)]
    varied = [name for name in search.hyperparameters if len({trial.settings[name] for trial in whole}) > 1]
    if len(whole) < LEAST or not varied:
        return {}
    share = max(_BEST, _FEWEST / len(whole))
    if whole[math.ceil(share * len(whole)) - 1].value == whole[-1].value:  # the best are no better than the others
        return {}
    import optuna  # half a second, which only this page needs

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize" if search.maximize else "minimize")
    ranges: dict[str, BaseDistribution] = {}
    for name in varied:
        known = numbers(search, name)
        if known is None:
            ranges[name] = optuna.distributions.CategoricalDistribution(sorted({t.settings[name] for t in whole}))
        else:
            low, high = float(known[0].min()), float(known[0].max())
            ranges[name] = optuna.distributions.FloatDistribution(low, high, log=is_wide(known[0]))
    for trial in whole:
        values = {
            name: float(trial.settings[name])
            if isinstance(kind, optuna.distributions.FloatDistribution)
            else trial.settings[name]
            for name, kind in ranges.items()
        }
        study.add_trial(optuna.trial.create_trial(params=values, distributions=ranges, value=trial.value))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
