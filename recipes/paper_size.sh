# The stage at the size of the paper's networks, 8x2560: an ensemble, its soft targets, students. Sourced by recipes/speech.sh.
# Students differ from the members in nothing but their targets, so that the members are their controls.

train_large() {
  # shellcheck disable=SC2034  # for distil_seeds
  local student_config=$paper_config student_options=$large_options
  # shellcheck disable=SC2086  # the options are words
  train_seeds "$paper_config" large "0-$((ensemble_size - 1))" $large_options
  combine_members large_ensemble arithmetic "$ensemble_size" large
  soft_targets large_ensemble/seed0 large
  # shellcheck disable=SC2046
  distil_seeds large_distilled "$large_student_seeds" $(point) --soft-targets "$exp/targets/large"
}

decode_large() {
  # shellcheck disable=SC2034  # for measure_seeds
  local accuracy_sets="dev test" network_options="--autocast auto" language_models=${language_models##* } phone_loop=no
  measure_seeds large "$(ensemble_seeds)"
  measure_seeds large_ensemble 0
  measure_seeds large_distilled "$(seq_of "$large_student_seeds")"
}

large_networks() { train_large; decode_large; }
