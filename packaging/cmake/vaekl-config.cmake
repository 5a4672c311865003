# find_package(vaekl): the targets vaekl::vaekl, and vaekl::static for the archive. Both know their
# headers. Relocatable: the headers are in the first include/ above this file, the libraries two
# folders above it (LIBDIR/cmake/vaekl, of make install) or in a lib/ beside the headers
# (PREFIX/share/cmake/vaekl, of cargo-c).
get_filename_component(_vaekl_here "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
get_filename_component(_vaekl_above_here "${_vaekl_here}/../.." ABSOLUTE)
set(_vaekl_prefix "${_vaekl_above_here}")
while(NOT EXISTS "${_vaekl_prefix}/include/vaekl.h")
  get_filename_component(_vaekl_above "${_vaekl_prefix}" DIRECTORY)
  if(_vaekl_above STREQUAL _vaekl_prefix)
    set(vaekl_FOUND FALSE)
    set(vaekl_NOT_FOUND_MESSAGE "no include/vaekl.h above ${_vaekl_here}")
    return()
  endif()
  set(_vaekl_prefix "${_vaekl_above}")
endwhile()

set(_vaekl_libdir "")
foreach(_vaekl_folder "${_vaekl_above_here}" "${_vaekl_prefix}/lib/${CMAKE_LIBRARY_ARCHITECTURE}"
    "${_vaekl_prefix}/lib64" "${_vaekl_prefix}/lib")
  file(GLOB _vaekl_found "${_vaekl_folder}/libvaekl.*")
  if(_vaekl_found AND NOT _vaekl_libdir)
    set(_vaekl_libdir "${_vaekl_folder}")
  endif()
endforeach()

if(EXISTS "${_vaekl_libdir}/libvaekl.a" AND NOT TARGET vaekl::static)
  add_library(vaekl::static STATIC IMPORTED)
  set_target_properties(vaekl::static PROPERTIES
    IMPORTED_LOCATION "${_vaekl_libdir}/libvaekl.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES C
    # Libs.private of vaekl.pc; scripts/hosts/cpp compares.
    INTERFACE_LINK_LIBRARIES "util;rt;pthread;m;dl;c"
    INTERFACE_INCLUDE_DIRECTORIES "${_vaekl_prefix}/include")
endif()
foreach(_vaekl_name libvaekl.so libvaekl.dylib)
  if(EXISTS "${_vaekl_libdir}/${_vaekl_name}" AND NOT TARGET vaekl::vaekl)
    add_library(vaekl::vaekl SHARED IMPORTED)
    set_target_properties(vaekl::vaekl PROPERTIES
      IMPORTED_LOCATION "${_vaekl_libdir}/${_vaekl_name}"
      INTERFACE_INCLUDE_DIRECTORIES "${_vaekl_prefix}/include")
  endif()
endforeach()
# Where only the archive was installed, it is the library.
if(TARGET vaekl::static AND NOT TARGET vaekl::vaekl)
  add_library(vaekl::vaekl INTERFACE IMPORTED)
  set_target_properties(vaekl::vaekl PROPERTIES INTERFACE_LINK_LIBRARIES vaekl::static)
endif()
if(NOT TARGET vaekl::vaekl)
  set(vaekl_FOUND FALSE)
  set(vaekl_NOT_FOUND_MESSAGE
    "no libvaekl.so or libvaekl.a in ${_vaekl_above_here} or ${_vaekl_prefix}/lib")
endif()
