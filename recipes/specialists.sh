# The stage that gives a baseline specialists for the senones that it confuses. Sourced by recipes/speech.sh.

# Clusters from the posteriors of the training frames, a specialist for each with hard and with section 6.1's soft targets,
# and what both add on dev and test: specialists/clusters.json, combined.json, per_utterance.jsonl.
train_specialists() {
  local generalist targets options
  generalist=$exp/models/baseline/seed$(first_seed "$seeds")
  # shellcheck disable=SC2086  # the options are words
  distill specialists cluster --model "$generalist" --frames "$exp/senones/frames/train" --num-clusters "$specialist_clusters" \
    --size "$specialist_size" --autocast auto $cluster_options --output "$exp/specialists/clusters.json"
  for targets in hard soft; do
    options=$specialist_options
    [ "$targets" = hard ] || options="$options $soft_specialist_options"
    # shellcheck disable=SC2086,SC2046
    distill specialists train --clusters "$exp/specialists/clusters.json" --generalist "$generalist" --config "$specialist_config" \
      --train "$exp/senones/frames/train" --dev "$exp/senones/frames/dev" --targets "$targets" --jobs "$threads" --threads 1 \
      $options $(shared_speakers) --output "$exp/models/specialists/$targets"
  done
  # shellcheck disable=SC2086
  distill specialists combine --generalist "$generalist" --specialists "$exp"/models/specialists/{hard,soft} \
    --frames "$exp"/senones/frames/{dev,test} $combine_options --output "$exp/specialists/combined.json" \
    --per-utterance "$exp/specialists/per_utterance.jsonl"
}
