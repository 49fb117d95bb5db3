#!/bin/sh
# Runs the script that stands first on standard input, up to a line equal to the first argument; what follows on
# standard input is that script's own. So neither its length nor its quoting matters, and no log shows its text.
# A script that is cut off (a broken connection) does not run at all.
end=$1
shift
text=
while
    IFS= read -r line || exit 70
    [ "$line" != "$end" ]
do
    text="$text$line
"
done
eval "unset end line text
$text"
