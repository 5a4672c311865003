# Makes documentation of the header's plain comments: of its head, as it is set, and of each
# declaration's.
1s|^/\*|/** \\file\n * \\verbatim\n|
s|^ \*/$| * \\endverbatim */|
s|^\( *\)// |\1/// |
s|^\( *\)//$|\1///|
