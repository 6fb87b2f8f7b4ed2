// Channel [0, 4] x [0, 1] around a round obstacle.
DefineConstant[ h = 0.06 ]; // mesh size
DefineConstant[ r = 0.2 ]; // obstacle radius
Point(1) = {0, 0, 0, h};
Point(2) = {4, 0, 0, h};
Point(3) = {4, 1, 0, h};
Point(4) = {0, 1, 0, h};
For i In {1:4}
  Line(i) = {i, i % 4 + 1};
EndFor
Point(9) = {1, 0.5, 0, h};
For i In {0:3}
  Point(10 + i) = {1 + r * Cos(i * Pi/2), 0.5 + r * Sin(i * Pi/2), 0, h};
EndFor
For i In {0:3}
  Circle(10 + i) = {10 + i, 9, 10 + (i + 1) % 4};
EndFor
Curve Loop(1) = {1:4};
Curve Loop(2) = {10:13};
Plane Surface(1) = {1, 2};
Physical Surface("fluid") = {1};
Physical Curve("walls") = {1, 3};
Physical Curve("outlet") = {2};
Physical Curve("inlet") = {4};
Physical Curve("obstacle") = {10:13};
Mesh.Algorithm = 6;
