# Fit a cubic polynomial to a wave of a sine, by gradient descent with momentum.
#
#     awk -v rate=0.1 -v momentum=0.9 -f fit_sine.awk
#
# Every line that it prints is a JSON object, which is all that tuneflow wants of a report. It
# writes a checkpoint when it is given a folder for it, and begins from one that it is given.

BEGIN {
    goal = ENVIRON["TUNEFLOW_UNTIL"]
    if (goal == "") goal = 27
    folder = ENVIRON["TUNEFLOW_CHECKPOINT_DIR"]
    epoch = restore(ENVIRON["TUNEFLOW_RESTORE_DIR"])
    while (epoch < goal) {
        for (step = 0; step < 10; step++) loss = descend()
        epoch++
        printf "{\"loss\": %.8f, \"resource\": %d%s}\n", loss, epoch, saved()
        # What is not flushed is not reported yet.
        fflush()
    }
}

# Take one step down, and return the mean squared error before it.
function descend(    point, x, power, term, error, sum, slope) {
    sum = 0
    for (term = 0; term < 4; term++) slope[term] = 0
    for (point = -25; point <= 25; point++) {
        x = point / 25
        error = -sin(3 * x)
        power = 1
        for (term = 0; term < 4; term++) { error += weight[term] * power; power *= x }
        power = 1
        for (term = 0; term < 4; term++) { slope[term] += 2 * error * power; power *= x }
        sum += error * error
    }
    for (term = 0; term < 4; term++) {
        velocity[term] = momentum * velocity[term] - rate * slope[term] / 51
        weight[term] += velocity[term]
    }
    return sum / 51
}

# Save the state in a folder of its own for each epoch, and return what the report says of it.
function saved(    name, file, term) {
    if (folder == "") return ""
    name = "epoch-" epoch
    system("mkdir '" folder "/" name "'")
    file = folder "/" name "/state"
    print epoch > file
    for (term = 0; term < 4; term++) printf "%.17g %.17g\n", weight[term], velocity[term] > file
    close(file)
    return ", \"checkpoint\": \"" name "\""
}

# Load what was saved in a folder, and return its epoch; 0 when there is none.
function restore(from,    file, found, line, term, part) {
    if (from == "") return 0
    file = from "/state"
    getline found < file
    for (term = 0; term < 4; term++) {
        getline line < file
        split(line, part)
        weight[term] = part[1]
        velocity[term] = part[2]
    }
    return found + 0
}
