"""Plans a run: which recipe, how many epochs, how long and how accurate, before it begins.

    candidates.family_recipe(family, data) -> TrainConfig   the recipe that is stretched
    pace.measure.measure_pace(recipe, seconds) -> Pace      this machine's speed, measured with the recipe's parts
    pace.published_pace.published_pace(family, recipe, machine, sides) -> Pace
                                                            a machine's speed by published figures
    candidates.candidates(family, recipe, pace) -> [Candidate]
                                                            every length of the family, with time and accuracy
    choice.plan_for(family, pace, target=0.92, seconds=300) -> Choice
                                                            the best of them for a target, a time limit or both
    surest.surest(found, target) -> Offer                   the shortest run that is sure of a target, and its time
    plan_file.write_plan(choice, path, data=(train, val))   plan.yaml for `train_imagenet.py -C`

Everything but the measurement (pace/measure.py, pace/timing.py) is a pure function and imports no torch.
"""
