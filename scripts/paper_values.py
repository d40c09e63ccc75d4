"""Method by method: what its paper or its authors' code says, what our preset has, and the test that shows it.

    python scripts/paper_values.py        # the table of docs/methods.md, which a test compares with this

Our values are read from the presets. A row whose two values differ needs a reason, and one whose values agree has none.
"""

from typing import Any, NamedTuple

from firsthand.objective import PRESETS
from firsthand.recipe import Recipe
from firsthand.reward.shaping import overlong_penalty

NOT_TOLD = "not told"
LOSS, LENGTH = "loss", "most that length takes off"
"""Rows that are no setting."""
VALUE = "test_a_preset_has_its_paper_s_value"
"""What shows a setting that no test of behaviour does."""


class Row(NamedTuple):
    """A value of a paper beside ours."""

    kind: str
    key: str
    """Of a recipe, dotted; or `LOSS`, or `LENGTH`."""
    paper: Any
    source: str
    """Where the paper or the code says so."""
    test: str = VALUE
    why: str = ""
    """Why ours is another, and what that costs; empty where it is not."""

    @property
    def ours(self) -> Any:
        """The preset's value, or the function that it stands for."""
        if self.key == LOSS:
            return PRESETS[self.kind].terms.__name__
        if self.key == LENGTH:
            return f"{-overlong_penalty(100, 0.2, 100):g} of 1 between wrong and right"
        found = recipe(self.kind).model_dump()
        for part in self.key.split("."):
            found = found.get(part)  # a key that was added later is absent where it says nothing
        return found

    @property
    def deviates(self) -> bool:
        """Whether ours is another value; of what is no setting, whether a reason is given."""
        return bool(self.why) if self.key in (LOSS, LENGTH) else self.ours != self.paper


def recipe(kind: str) -> Recipe:
    """What a method's name stands for, with a batch that is large enough for all of its steps."""
    beside = {"teacher": "small"} if PRESETS[kind].settings.needs_teacher else {}
    content = {"name": "a", "data": {"worlds": ["count"]}, "objective": kind, "prompts": 512, **beside}
    return Recipe.model_validate(content)


TRL = "test_presets_equal_trl_on_the_same_tensors"
RATIO = "test_a_method_with_a_ratio_of_its_own_is_another_one_than_grpo"
FEWER = "R1-V's 8: a noisier mean, for a fraction of the replies"
ROWS = [
    Row("dft", LOSS, "-p log p, p without gradient", "2508.05629", "test_dft_weighs_without_a_gradient_of_its_own"),
    Row("grpo", LOSS, "eq. 3", "2402.03300", TRL),
    Row("grpo", "objective.group_size", 64, "2402.03300, 4.2", why=FEWER),
    Row("grpo", "objective.kl.beta", 0.04, "2402.03300, 4.2", why="TRL's 0: no second model in memory"),
    Row("grpo", "minibatches", 1, "2402.03300, 4.2", "test_with_one_step_per_batch_no_ratio_acts"),
    Row("grpo", "optimizer.lr", 1e-6, "2402.03300, 4.2"),
    Row("grpo-d", "objective.group_size", 8, "R1-V"),
    Row("grpo-d", "objective.kl.low", 0.0, "2503.16081, geometry"),
    Row(
        "grpo-d",
        "objective.kl.high",
        0.02,
        "2503.16081, geometry",
        "test_grpo_d_has_the_published_values_at_the_corners",
    ),
    Row("grpo-d", "objective.kl.explore", 0.3, "2503.16081"),
    Row(
        "grpo-d",
        "objective.kl.monotone",
        True,
        "2503.16081, prose",
        "test_the_prose_of_grpo_d_rises_all_the_way",
        "the formula is followed, which falls first; the prose is a key",
    ),
    Row("grpo-d", "reward.format", 1.0, "2503.16081", "test_the_format_earns_alpha_beside_the_score"),
    Row("vlaa-grpo", "objective.group_size", 4, "2504.11468"),
    Row("vlaa-grpo", "sampling.temperature", 0.8, "2504.11468"),
    Row("vlaa-grpo", "minibatches", 512 * 4 // 256, "2504.11468: 512 prompts of 4, 256 replies each"),
    Row(
        "vlaa-grpo", "objective.kl.init", 1e-3, "2504.11468, table 6", "test_the_adaptive_weight_follows_openrlhfs_rule"
    ),
    Row("vlaa-grpo", "objective.kl.target", 5e-4, "2504.11468, table 6"),
    Row("vlaa-grpo", "optimizer.warmup", 0.03, "2504.11468, table 6"),
    Row(
        "vlaa-grpo",
        "optimizer.floor",
        "5e-7, absolute",
        "2504.11468, table 6",
        why="of a peak of 1e-6, which is ours; if its code's tenth of the peak holds, ours is five times too low",
    ),
    Row("vlaa-grpo", "optimizer.betas", (0.9, 0.95), "OpenRLHF", "test_the_betas_are_the_recipes"),
    Row("vlaa-grpo", "optimizer.weight_decay", 0.0, "OpenRLHF"),
    Row("dapo", LOSS, "eq. 8", "2503.14476", TRL),
    Row("dapo", "objective.clip_low", 0.2, "2503.14476, 4.1"),
    Row("dapo", "objective.clip_high", 0.28, "2503.14476, 4.1", RATIO),
    Row("dapo", "objective.loss_agg_mode", "token-mean", "2503.14476, 3.3", TRL),
    Row("dapo", "objective.group_size", 16, "2503.14476, 4.1"),
    Row(
        "dapo",
        "objective.zero_variance",
        "resample",
        "2503.14476, eq. 11",
        "test_a_group_of_wrong_replies_is_left_out_whatever_their_lengths",
    ),
    Row(
        "dapo",
        "reward.truncated",
        "mask",
        "2503.14476, 3.4 and table 1",
        "test_a_masked_reply_is_neither_in_the_group_nor_in_the_loss",
    ),
    Row("dapo", "reward.overlong", 4096 / 20480, "2503.14476, 4.1", "test_a_long_reply_is_punished_softly"),
    Row(
        "dapo",
        LENGTH,
        "1 of 2 between wrong and right",
        "2503.14476, eq. 13",
        "test_a_long_reply_is_punished_by_as_much_of_the_rewards_range_as_in_dapo",
    ),
    Row("dapo", "minibatches", 512 * 16 // 512, "2503.14476, 4.1: 512 prompts in parts of 32"),
    Row("dapo", "optimizer.weight_decay", 0.1, "verl's script"),
    Row("dapo", "optimizer.floor", 1.0, "2503.14476, 4.1: constant rate"),
    Row("dapo", "optimizer.warmup", "20 batches", "2503.14476, 4.1", why="a share, so that short runs warm up, too"),
    Row("dapo", "objective.kl.beta", 0.0, "2503.14476, 2.3"),
    Row("dr-grpo", LOSS, "no deviation, no length of a reply", "2503.20783", TRL),
    Row("dr-grpo", "objective.scale", "none", "2503.20783", TRL),
    Row("dr-grpo", "objective.loss_agg_mode", "seq-mean-token-sum-norm", "2503.20783", TRL),
    Row("dr-grpo", "objective.group_size", 8, "2503.20783"),
    Row("dr-grpo", "objective.kl.beta", 0.0, "2503.20783"),
    Row("gspo", LOSS, "one ratio per reply", "2507.18071", TRL),
    Row("gspo", "objective.ratio", "sequence", "2507.18071", RATIO),
    Row("gspo", "objective.clip_low", 3e-4, "2507.18071, 5.1", "test_the_clips_of_the_oracle_act"),
    Row("gspo", "objective.clip_high", 4e-4, "2507.18071, 5.1", "test_the_clips_of_the_oracle_act"),
    Row("gspo", "minibatches", 4, "2507.18071, 5.1", RATIO),
    Row("cispo", LOSS, "eq. 4", "2506.13585", TRL),
    Row("cispo", "objective.loss_agg_mode", "token-mean", "2506.13585, eq. 4", TRL),
    Row("cispo", "objective.cap", NOT_TOLD, "2506.13585", "test_cispo_by_hand", "ScaleRL's (2510.13786)"),
    Row(
        "cispo",
        "objective.zero_variance",
        "resample",
        "2506.13585, 3.1",
        "test_resample_draws_other_prompts_until_the_batch_is_full",
    ),
    Row(
        "cispo",
        "reward.overlong",
        NOT_TOLD,
        "2506.13585, 3.1: as DAPO",
        "test_a_long_reply_is_punished_softly",
        "DAPO's interval",
    ),
    Row("cispo", "minibatches", 16, "2506.13585, 3.1", RATIO),
    Row("cispo", "optimizer.betas", (0.9, 0.95), "2506.13585, 3.2", "test_the_betas_are_the_recipes"),
    Row("luffy", LOSS, "eq. 6 and 8", "2504.14945", "test_luffy_equals_a_recomputation_from_its_paper"),
    Row("luffy", "objective.group_size", 7, "2504.14945"),
    Row("luffy", "objective.scale", "none", "2504.14945"),
    Row(
        "luffy",
        "objective.baseline",
        "mixed",
        "2504.14945",
        "test_outside_the_baseline_a_demonstration_earns_what_it_has_over_it",
    ),
    Row("luffy", "objective.gamma", 0.1, "2504.14945", "test_luffy_by_hand"),
    Row("luffy", "objective.loss_agg_mode", "token-mean", "2504.14945, eq. 6", "test_luffy_by_hand"),
    Row(
        "luffy",
        "objective.entropy_bonus",
        0.01,
        "2504.14945",
        "test_luffy_by_hand",
        "its script's 0.001, over Z / 8,192 of a forward: 0.00025 to 0.0005 in the scale of this loss",
    ),
    Row("luffy", "minibatches", 128 // 64, "2504.14945"),
    Row("luffy", "optimizer.weight_decay", 0.01, "its script (verl)"),
    Row("luffy", "optimizer.warmup", 0.0, "2504.14945: constant rate"),
    Row("luffy", "optimizer.floor", 1.0, "2504.14945: constant rate"),
    Row("luffy", "objective.kl.beta", 0.0, "2504.14945"),
    Row("srft", LOSS, "eq. 8 to 13", "2506.19767", "test_srft_equals_a_recomputation_from_its_paper"),
    Row("srft", "objective.group_size", 8, "2506.19767"),
    Row("srft", "objective.sft_scale", 0.5, "2506.19767, eq. 9", "test_srft_by_hand"),
    Row("srft", "objective.rl_scale", 0.1, "2506.19767, eq. 12", "test_srft_by_hand"),
    Row("srft", "objective.scale", "std", "2506.19767, eq. 7"),
    Row("srft", "objective.baseline", "mixed", "2506.19767, eq. 7"),
    Row(
        "srft",
        "objective.entropy_of",
        NOT_TOLD,
        "2506.19767",
        "test_srft_takes_its_entropy_of_tokens_or_of_the_batch",
        "HPT's code has it so: no reply damps another",
    ),
    Row(
        "srft",
        "objective.loss_agg_mode",
        NOT_TOLD,
        "2506.19767",
        "test_srft_by_hand",
        "log p of a wrong reply has no lower bound, and must not grow with its length",
    ),
    Row(
        "srft",
        "minibatches",
        NOT_TOLD,
        "2506.19767",
        why="`rl_self` has no ratio for a second step (HPT's code takes two)",
    ),
    Row("srft", "optimizer.weight_decay", NOT_TOLD, "2506.19767", why="ours"),
    Row("srft", "optimizer.warmup", 0.0, "2506.19767: constant rate"),
    Row("srft", "optimizer.floor", 1.0, "2506.19767: constant rate"),
    Row("chord", LOSS, "(1 - mu) GRPO + mu SFT", "2508.11408", "test_chord_by_hand"),
    Row("chord", "objective.group_size", 8, "Trinity-RFT"),
    Row("chord", "objective.loss_agg_mode", "token-mean", "Trinity-RFT", "test_chord_by_hand"),
    Row("chord", "objective.clip_low", 0.2, "Trinity-RFT"),
    Row("chord", "objective.clip_high", 0.2, "Trinity-RFT"),
    Row(
        "chord",
        "objective.clip_dual",
        3.0,
        "Trinity-RFT",
        "test_chord_bounds_the_loss_of_a_bad_reply_at_three_times_its_advantage",
    ),
    Row("chord", "objective.mu_peak", 0.9, "Trinity-RFT", "test_chord_by_hand"),
    Row("chord", "objective.mu_valley", 0.05, "Trinity-RFT", "test_chord_falls_over_200_steps_however_long_the_run_is"),
    Row("chord", "objective.mu_warmup_steps", 0, "Trinity-RFT", "test_chords_schedule_by_hand"),
    Row(
        "chord",
        "objective.mu_decay_steps",
        200,
        "Trinity-RFT",
        "test_chord_falls_over_200_steps_however_long_the_run_is",
    ),
    Row("chord", "minibatches", 1, "Trinity-RFT"),
    Row("chord", "objective.kl.beta", 0.0, "Trinity-RFT"),
    Row(
        "chord",
        "objective.baseline",
        "no group: demonstrations of other prompts",
        "2508.11408",
        "test_a_demonstration_may_stand_outside_the_baseline",
        "one data set; the demonstration stays out of the mean",
    ),
    Row("chord-phi", "objective.phi", True, "2508.11408", "test_chord_by_hand"),
    Row("chord-phi", "objective.mu_peak", 0.1, "Trinity-RFT"),
    Row("chord-phi", "objective.mu_valley", 0.1, "Trinity-RFT"),
    Row(
        "chord-phi",
        "objective.mu_decay_steps",
        0,
        "Trinity-RFT",
        "test_chord_falls_over_200_steps_however_long_the_run_is",
    ),
    Row("opd", LOSS, "reverse KL", "2306.13649", "test_distillation_descends_the_reverse_kl_to_the_teacher"),
    Row("opd", "objective.group_size", 4, "tinker-cookbook"),
    Row("rloo", LOSS, "REINFORCE, leave one out", "2402.14740", "test_gmpo_and_rloo_equal_trl_on_the_same_tensors"),
    Row("rloo", "objective.scale", "loo", "2402.14740", "test_rloo_by_hand"),
    Row("rloo", "objective.clip_low", 0.2, "TRL"),
    Row("rloo", "objective.clip_high", 0.2, "TRL"),
    Row("rloo", "objective.kl.beta", 0.05, "TRL", why="no second model in memory; in the reward it is a key"),
    Row("rloo", "objective.ratio", "reply", "TRL", "test_gmpo_and_rloo_equal_trl_on_the_same_tensors"),
    Row("reinforce++", "objective.loss_agg_mode", NOT_TOLD, "2501.03262", why="each token weighs the same, as in verl"),
    Row("reinforce++", "objective.scale", "batch", "2501.03262", "test_the_deviation_of_a_batch_by_hand"),
    Row("reinforce++", "objective.kl.beta", 1e-3, "OpenRLHF", "test_reinforce_with_a_batch_deviation_by_hand"),
    Row("reinforce++", "objective.kl.estimator", "k2", "OpenRLHF", "test_reinforce_with_a_batch_deviation_by_hand"),
    Row("reinforce++", "objective.group_size", 8, "OpenRLHF"),
    Row("reinforce++", "minibatches", 192 * 8 // 192, "OpenRLHF: 192 prompts of 8, 192 replies each"),
    Row(
        "gmpo",
        LOSS,
        "a geometric mean of clipped ratios",
        "2507.20673",
        "test_gmpo_and_rloo_equal_trl_on_the_same_tensors",
    ),
    Row("gmpo", "objective.clip_low", 0.4, "2507.20673", "test_gmpo_by_hand"),
    Row("gmpo", "objective.clip_high", 0.4, "2507.20673", "test_gmpo_by_hand"),
    Row("gmpo", "minibatches", NOT_TOLD, "TRL", why="GSPO's 4: in one part no ratio acts"),
    Row("sapo", LOSS, "a sigmoid of the ratio", "2511.20347", TRL),
    Row("sapo", "objective.tau_positive", 1.0, "TRL", TRL),
    Row("sapo", "objective.tau_negative", 1.05, "TRL", TRL),
    Row("sapo", "minibatches", NOT_TOLD, "TRL", why="GSPO's 4: in one part no ratio acts"),
    Row("nsr", LOSS, "-1 on wrong replies alone", "2506.01347", "test_nsr_by_hand"),
    Row("nsr", "objective.positive", 0.0, "2506.01347", "test_nsr_by_hand"),
    Row("nsr", "objective.loss_agg_mode", NOT_TOLD, "2506.01347", why="as verl has it, on which the authors build"),
    Row("hpt", LOSS, "SFT where nothing is right, else RL", "2509.04419", "test_hpt_by_hand"),
    Row("hpt", "objective.gate", 0.0, "its script", "test_hpt_by_hand"),
    Row("hpt", "objective.sft_weight", 1.0, "its script", "test_hpt_by_hand"),
    Row("hpt", "objective.group_size", 8, "its script"),
    Row("hpt", "objective.scale", "none", "its script"),
    Row("hpt", "objective.loss_agg_mode", "sum / 8,192", "its script", why="a length limit is no part of the rate"),
    Row("hpt", "objective.clip_low", None, "its script"),
    Row("hpt", "objective.clip_high", None, "its script"),
    Row("hpt", "minibatches", 128 // 64, "its script"),
    Row("hpt", "optimizer.warmup", 0.0, "verl's default"),
    Row("hpt", "optimizer.floor", 1.0, "verl's default: a constant rate"),
    Row("hpt", "optimizer.max_grad_norm", 80.0, "its script"),
    Row("hpt", "optimizer.lr", 5e-6, "its script", why="the recipe's: a rate belongs to a model"),
    Row("papo", LOSS, "eq. 2, as its code has it", "2507.06448", "test_papo_by_hand"),
    Row("papo", "objective.gamma", 0.02, "2507.06448, table 6: 3B", "test_papo_by_hand"),
    Row("papo", "objective.eta", 0.0, "2507.06448, table 6: 3B", "test_papo_by_hand"),
    Row("papo", "objective.mask_ratio", 0.6, "2507.06448, table 6", "test_about_the_share_is_black"),
    Row("papo", "objective.group_size", 5, "2507.06448, C"),
    Row("papo", "objective.clip_low", 0.2, "2507.06448, table 6"),
    Row("papo", "objective.clip_high", 0.3, "2507.06448, table 6"),
    Row("papo", "objective.kl.beta", 0.01, "2507.06448, table 6"),
    Row("papo", "objective.loss_agg_mode", "token-mean", "its code; eq. 2 has the mean of each reply first"),
    Row("papo", "objective.clip_dual", 3.0, "its code (EasyR1)", why="no part of eq. 2"),
    Row("papo", "minibatches", 384 // 128, "its script: 384 prompts in parts of 128"),
    Row("papo", "optimizer.weight_decay", 0.01, "2507.06448, C"),
    Row("papo", "optimizer.warmup", 0.0, "its code: a constant rate"),
    Row("papo", "optimizer.floor", 1.0, "its code: a constant rate"),
    Row("papo", "optimizer.lr", 1e-6, "2507.06448, C"),
    Row(
        "noisy-rollout",
        LOSS,
        "GRPO on clean pictures, and an entropy bonus of 0.001",
        "2504.13055, its code",
        "test_later_minibatches_of_noisy_rollouts_meet_the_trainer_s_old_policy",
        "the bonus is left out, as it is of hpt",
    ),
    Row(
        "noisy-rollout",
        "objective.group_size",
        6 + 6,
        "its script",
        "test_half_of_a_group_is_written_to_a_distorted_picture",
    ),
    Row(
        "noisy-rollout", "objective.noise", 500, "its script", "test_the_noise_of_noisy_rollout_falls_as_in_its_script"
    ),
    Row(
        "noisy-rollout",
        "objective.noise_slope",
        30.0,
        "its script",
        "test_the_noise_of_noisy_rollout_falls_as_in_its_script",
    ),
    Row(
        "noisy-rollout",
        "objective.noise_middle",
        40 / 60,
        "its script: step 40 of 60",
        "test_the_noise_of_noisy_rollout_falls_as_in_its_script",
    ),
    Row("noisy-rollout", "objective.loss_agg_mode", "token-mean", "its code"),
    Row("noisy-rollout", "objective.clip_low", 0.2, "its code"),
    Row("noisy-rollout", "objective.clip_high", 0.2, "its code"),
    Row("noisy-rollout", "objective.kl.beta", 0.0, "its script"),
    Row("noisy-rollout", "minibatches", 512 // 128, "its configuration: 512 prompts in parts of 128"),
    Row("noisy-rollout", "optimizer.weight_decay", 0.01, "its configuration"),
    Row("noisy-rollout", "optimizer.warmup", 0.0, "its configuration: a constant rate"),
    Row("noisy-rollout", "optimizer.floor", 1.0, "its configuration: a constant rate"),
    Row("noisy-rollout", "optimizer.lr", 1e-6, "its configuration"),
    Row(
        "clip-cov",
        LOSS,
        "tokens within bounds of covariance are left out",
        "2505.22617, its code",
        "test_clip_cov_leaves_out_tokens_whose_covariance_is_within_its_bounds",
        "means over the optimizer step, where its code has those of a forward",
    ),
    Row(
        "clip-cov",
        "objective.share",
        2e-4,
        "its script",
        "test_clip_cov_draws_as_many_as_its_share_says_and_at_least_one",
    ),
    Row("clip-cov", "objective.cov_low", 1.0, "its script"),
    Row("clip-cov", "objective.cov_high", 5.0, "its script"),
    Row("clip-cov", "objective.clip_low", 1.0, "its script", why="no ratio is below 0"),
    Row("clip-cov", "objective.clip_high", 1.0, "its script", "test_a_token_that_the_clip_leaves_out_is_not_drawn"),
    Row("clip-cov", "objective.loss_agg_mode", "token-mean", "its script"),
    Row("clip-cov", "objective.group_size", 8, "its script"),
    Row("clip-cov", "objective.zero_variance", "resample", "its script"),
    Row("clip-cov", "minibatches", 256 // 32, "its script: 256 prompts in parts of 32"),
    Row("clip-cov", "optimizer.warmup", 0.0, "its script: a constant rate"),
    Row("clip-cov", "optimizer.floor", 1.0, "its script: a constant rate"),
    Row("clip-cov", "optimizer.weight_decay", 0.0, "its script"),
    Row("clip-cov", "optimizer.lr", 5e-7, "its script", why="the recipe's: a rate belongs to a model"),
    Row(
        "kl-cov",
        LOSS,
        "tokens of the largest covariance are held",
        "2505.22617, its code",
        "test_kl_cov_holds_the_tokens_of_highest_covariance",
        "means over the optimizer step, where its code has those of a forward",
    ),
    Row("kl-cov", "objective.share", 2e-3, "its script", "test_kl_cov_holds_the_tokens_of_highest_covariance"),
    Row("kl-cov", "objective.penalty", 1.0, "its script", "test_kl_cov_holds_the_tokens_of_highest_covariance"),
    Row("kl-cov", "objective.loss_agg_mode", "token-mean", "its script"),
    Row("kl-cov", "objective.group_size", 8, "its script"),
    Row("kl-cov", "objective.zero_variance", "resample", "its script"),
    Row("kl-cov", "minibatches", 256 // 32, "its script: 256 prompts in parts of 32"),
    Row("kl-cov", "optimizer.warmup", 0.0, "its script: a constant rate"),
    Row("kl-cov", "optimizer.floor", 1.0, "its script: a constant rate"),
    Row("kl-cov", "optimizer.weight_decay", 0.0, "its script"),
    Row("kl-cov", "optimizer.lr", 5e-7, "its script", why="the recipe's: a rate belongs to a model"),
    Row(
        "pass-at-k",
        LOSS,
        "the analytical advantage",
        "2508.10751, its code",
        "test_pass_at_k_is_the_mean_advantage_of_all_subsets",
    ),
    Row("pass-at-k", "objective.pass_k", NOT_TOLD, "its code: an argument", "test_pass_at_k_by_hand", "half of our 8"),
]
"""In the order of docs/methods.md. arXiv numbers stand for papers."""


def shown(value: Any) -> str:
    """A value as a recipe would have it; words as they are."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) or value is None else f"{value:g}"


def table() -> str:
    """The rows in Markdown. Raises ValueError where a reason is missing, or given for nothing."""
    lines = ["| method | setting | paper | source | ours | deviation | test |", "|---|---|---|---|---|---|---|"]
    for row in ROWS:
        if row.deviates != bool(row.why):
            raise ValueError(
                f"{row.kind} {row.key}: {shown(row.paper)} beside ours, {shown(row.ours)}; why: {row.why!r}"
            )
        key = row.key if row.key in (LOSS, LENGTH) else f"`{row.key.removeprefix('objective.')}`"
        cells = [
            f"`{row.kind}`",
            key,
            shown(row.paper),
            row.source,
            shown(row.ours),
            row.why or "none",
            f"`{row.test}`",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
