"""The signs of many keyboards that stand between words or beside them."""

# End a phrase, besides "." where it is no part of a number. Chinese and Japanese, Arabic and
# Urdu, Armenian, Hindi, Ethiopic; then bullets and what editors make of dots.
SEPARATORS = ",;|\r\n\v\f\x85\u2028\u2029" + "｜，、。；｡､．؛،۔՝։।॥፣።፤" + "·•‣・…"
OPENING_QUOTES = "\"'`“‘«„‚「『‹"
CLOSING_QUOTES = "\"'`”’»“‘」』›"
APOSTROPHES = "'’ʼ`´‘"
OPENING_BRACKETS = "([{<（【《〈＜［｛"
CLOSING_BRACKETS = ")]}>）】》〉＞］｝"
MINUS_SIGNS = "-–—−－﹣‐‑"
ARROWS = "→⇒➔➜➞⟶⟹"
ARROW_HEADS = ">＞"
# Before a box threshold, as in "red car > 0.2", with or without "=".
ABOVE_SIGNS = ARROW_HEADS + "﹥≥≧⩾"
EQUALS_SIGNS = "=＝"
BELOW_SIGNS = "<＜"
DECIMAL_MARKS = ".,．，٫"
PERCENT_SIGNS = "%％٪"
BULLETS = "*•‣▪◦○●·"
# Say nothing beside a word; a few of them do inside one: "12:30", "c#".
MARKS = "!?:！？：؟"
